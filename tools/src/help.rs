//! What stands below the options in `--help`.

pub(crate) const EXAMPLES: &str = "\
Examples:
  accelbench run                                    a built-in guest by every method, as a table
  accelbench run --input guest.ram --method deflate a memory image of your own
  accelbench list                                   what this machine has, and what it lacks
  accelbench report result.json                     a page of charts of what was exported
  accelbench run --help                             all options, with more examples

Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 accelerator not usable, 4 memory differs at the end,
5 a result is worse than it may be, 130 interrupted.";

pub(crate) const LIST: &str = "\
Examples:
  accelbench list
  accelbench list --format json";

pub(crate) const RUN: &str = "\
Examples:
  Every method on the built-in guest (256 MiB, 8 rounds):
    accelbench run
  An image of a guest's memory (from QEMU: pmemsave 0 0x8000000 guest.ram), three runs a method:
    accelbench run --input guest.ram --method raw,deflate,zstd --runs 3
  Snapshots of one guest in order, so that xbzrle and delta have something to do:
    accelbench run --input a.ram,b.ram,c.ram --method zstd,xbzrle,delta
  Two methods in one stream, over four TCP connections, at the speed of a 10 Gbit/s link:
    accelbench run --method deflate+xbzrle --transport tcp --connections 4 --max-bandwidth 10Gbit
  A device, and the CPU where it cannot be had (accelbench list says why):
    accelbench run --accelerator qat,cpu --method deflate
  Ten seconds of rounds, the result as JSON in a file and as a table here:
    accelbench run --method zstd --runtime 10 --export result.json

Sizes: K, M, G, T are powers of 1024, KB, MB, GB, TB of 1000. Rates are bytes a second unless they say bit.
CPU time is that of the whole process, user and system, while pages move; reading images, making workloads,
writing the changes of a round, the handshake and comparing memory are not in it. Zero pages are counted apart and are in no
figure a page.";

pub(crate) const SEND: &str = "\
Examples:
  On the destination:  accelbench recv --listen tcp:0.0.0.0:4444
      --tls-certificate destination.pem --tls-key destination.key --tls-authority authority.pem
  On the source:       accelbench send --to tcp:destination:4444 --input guest.ram --method zstd
      --tls-certificate source.pem --tls-key source.key --tls-authority authority.pem

A stream that leaves the machine is TLS 1.3, unless --plain says that it need not be encrypted. How the files are made
is in engine/src/transport/tls/CERTIFICATES.md.";

pub(crate) const RECV: &str = "\
Examples:
  accelbench recv --listen tcp:0.0.0.0:4444 --max-memory 8G
      --tls-certificate destination.pem --tls-key destination.key --tls-authority authority.pem
  accelbench recv --listen unix:/run/accelbench.sock --workers 4

Memory of the size that the source offers is allocated, filled, compared and given back; nothing is kept. The
command ends after one migration.";

pub(crate) const SWEEP: &str = "\
Examples:
  How many workers and pages a request, on a link of 10 Gbit/s:
    accelbench sweep --workers 1,2 --max-pages 8,63,256 --max-bandwidth 10Gbit --method deflate
  How many queues of a device:
    accelbench sweep --accelerator iaa-model --queues 1,2,4 --method deflate

Every combination is measured as `accelbench run` does it, one after the other, and is a row of the result.";

pub(crate) const REPORT: &str = "\
Examples:
  accelbench run --export r.json && accelbench report r.json
  The same over two links, and every chart as a file of its own:
    accelbench run --max-bandwidth 1Gbit --export slow.json
    accelbench run --max-bandwidth 10Gbit --export fast.json
    accelbench report slow.json fast.json --output links.html --charts charts

The page is one file that loads nothing. Charts that the results have no figures for are left out, and the page says why.";

pub(crate) const COMPARE_RESULTS: &str = "\
Examples:
  accelbench run --runs 5 --export before.json
  accelbench run --runs 5 --export after.json
  accelbench compare-results before.json after.json --fail-below 5%

Rows are paired by method, accelerator and settings; those of a comparison by workload and name. Rows of a comparison have no CPU
time a page of their own: it is their extra CPU over their pages a second. A row that only one result has does not fail.";

pub(crate) const COMPARE: &str = "\
Examples:
  Three built-in guests over a link of 10 Gbit/s:
    accelbench compare
  Snapshots of your own guest, two QAT devices of the 4th generation, a link of 25 Gbit/s:
    accelbench compare --input before.ram,after.ram --profile qat-4xxx --devices 2 --link 25Gbit
  What 16 CPUs would do, on a machine that has fewer:
    accelbench compare --cpus 16 --modelled-only --quick

Each figure says how it was come by: `measured` by real migrations on this machine's CPU or devices, or `modelled` (~) by a
simulation of the same sender, from what pages and requests were measured to cost here and from the profiles of devices in
tools/profiles. tools/COMPARE.md says how, and what the model is worth.";
