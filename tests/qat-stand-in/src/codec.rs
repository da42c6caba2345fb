//! What an engine does with the bytes of an operation.

use flate2::Decompress;
use libdeflater::{CompressionLvl, Compressor};
use pageferry_bindings::qat::cpa::{CpaStatus, FALSE, TRUE};
use pageferry_bindings::qat::dc::{ReqStatus, Results};

use crate::fixed;
use crate::inflate::inflate;

/// What an operation is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub task: Task,
    /// Bytes of the destination.
    pub room: usize,
    /// What the checksum goes on from; without one, there is none.
    pub seed: Option<u32>,
    pub twist: Twist,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Compress { dynamic: bool, level: u32, recover: bool },
    Decompress,
}

/// What is to go wrong with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Twist {
    pub overflow: bool,
    pub verify: bool,
    pub status: Option<i32>,
    pub unsupported: bool,
    pub wrong_checksum: bool,
    pub wrong_produced: bool,
    pub corrupt: bool,
}

/// What the caller is told. Fields that are nothing stay what they were in its results.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub callback: i32,
    pub status: i32,
    pub produced: u32,
    pub consumed: u32,
    pub checksum: Option<u32>,
    pub end_of_last_block: Option<bool>,
    pub stored: Option<bool>,
}

/// The means of one engine, kept from operation to operation.
pub(crate) struct Codec {
    compressors: Vec<(u32, Compressor)>,
    inflater: Decompress,
}

impl Outcome {
    fn failed(status: ReqStatus) -> Self {
        Self { callback: CpaStatus::FAIL.0, status: status.0, ..Self::default() }
    }

    /// Writes it where the caller wants it.
    ///
    /// # Safety
    /// The results are the caller's, and its to be written until its callback was called.
    pub(crate) unsafe fn write(&self, results: *mut Results) {
        let boolean = |value: bool| if value { TRUE } else { FALSE };
        // SAFETY: the caller's word.
        unsafe {
            (*results).status = self.status;
            (*results).produced = self.produced;
            (*results).consumed = self.consumed;
            if let Some(checksum) = self.checksum {
                (*results).checksum = checksum;
            }
            if let Some(end) = self.end_of_last_block {
                (*results).end_of_last_block = boolean(end);
            }
            if let Some(stored) = self.stored {
                (*results).stored = boolean(stored);
            }
        }
    }
}

impl Codec {
    pub(crate) fn new() -> Self {
        Self { compressors: Vec::new(), inflater: Decompress::new(false) }
    }

    /// Does a job, and leaves in `output` what is written to the destination.
    pub(crate) fn perform(&mut self, job: &Job, input: &[u8], output: &mut Vec<u8>) -> Outcome {
        output.clear();
        if job.twist.unsupported {
            return Outcome { callback: CpaStatus::UNSUPPORTED.0, ..Outcome::default() };
        }
        if let Some(status) = job.twist.status {
            return Outcome::failed(ReqStatus(status));
        }
        let mut outcome = match job.task {
            Task::Compress { dynamic, level, recover } => {
                let stored = job.twist.verify && recover;
                if job.twist.verify && !recover {
                    return Outcome::failed(ReqStatus::VERIFY);
                }
                if stored {
                    fixed::store(input, output);
                } else {
                    self.deflate(dynamic, level, input, output);
                }
                self.fit(job, input, stored, output)
            }
            Task::Decompress => self.decompress(job, input, output),
        };
        spoil(job, &mut outcome, output);
        outcome
    }

    fn deflate(&mut self, dynamic: bool, level: u32, input: &[u8], output: &mut Vec<u8>) {
        if !dynamic {
            return fixed::deflate(input, output);
        }
        let compressor = self.compressor(level);
        output.resize(compressor.deflate_compress_bound(input.len()), 0);
        let bytes = compressor.deflate_compress(input, output).expect("libdeflate's own bound has room");
        output.truncate(bytes);
    }

    fn compressor(&mut self, level: u32) -> &mut Compressor {
        let place = self.compressors.iter().position(|(of, _)| *of == level).unwrap_or_else(|| {
            let lvl = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
            self.compressors.push((level, Compressor::new(lvl.unwrap_or_default())));
            self.compressors.len() - 1
        });
        &mut self.compressors[place].1
    }

    /// Cuts a stream to the room there is: what was consumed is then what can be had back from it.
    fn fit(&mut self, job: &Job, input: &[u8], stored: bool, output: &mut Vec<u8>) -> Outcome {
        let room = if job.twist.overflow { job.room.min(output.len() / 2) } else { job.room };
        let (status, consumed) = if output.len() <= room {
            (ReqStatus::OK, input.len())
        } else {
            output.truncate(room);
            let mut back = Vec::new();
            (ReqStatus::OVERFLOW, inflate(&mut self.inflater, output, input.len(), &mut back).produced)
        };
        Outcome {
            callback: CpaStatus::SUCCESS.0,
            status: status.0,
            produced: count(output.len()),
            consumed: count(consumed),
            checksum: job.seed.map(|seed| checksum(seed, &input[..consumed])),
            end_of_last_block: None,
            stored: Some(stored),
        }
    }

    fn decompress(&mut self, job: &Job, input: &[u8], output: &mut Vec<u8>) -> Outcome {
        let inflated = inflate(&mut self.inflater, input, job.room, output);
        output.truncate(inflated.produced);
        if job.twist.overflow {
            return Outcome::failed(ReqStatus::OVERFLOW);
        }
        if inflated.status != ReqStatus::OK {
            return Outcome::failed(inflated.status);
        }
        Outcome {
            callback: CpaStatus::SUCCESS.0,
            status: ReqStatus::OK.0,
            produced: count(inflated.produced),
            consumed: count(inflated.consumed),
            checksum: job.seed.map(|seed| checksum(seed, output)),
            end_of_last_block: Some(inflated.ended),
            stored: None,
        }
    }
}

/// Makes a liar of an outcome that is good.
fn spoil(job: &Job, outcome: &mut Outcome, output: &mut [u8]) {
    if outcome.callback != CpaStatus::SUCCESS.0 {
        return;
    }
    if job.twist.wrong_checksum {
        outcome.checksum = outcome.checksum.map(|checksum| checksum ^ 0x400);
    }
    if job.twist.wrong_produced {
        let fits = (outcome.produced as usize) < job.room;
        outcome.produced = if fits { outcome.produced + 1 } else { outcome.produced.saturating_sub(1) };
    }
    if job.twist.corrupt {
        let middle = output.len() / 2;
        if let Some(byte) = output.get_mut(middle) {
            *byte ^= 0x10;
        }
    }
}

/// The CRC-32 of RFC 1952 of bytes that follow others.
fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = libdeflater::Crc::new();
    crc.update(bytes);
    let crc = crc.sum();
    if seed == 0 {
        return crc;
    }
    let algorithm = crc_fast::CrcAlgorithm::Crc32IsoHdlc;
    let combined = crc_fast::checksum_combine(algorithm, seed.into(), crc.into(), bytes.len() as u64);
    u32::try_from(combined).unwrap_or(u32::MAX)
}

fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_goes_on_from_its_seed() {
        let whole = checksum(0, b"123456789");
        assert_eq!(whole, 0xcbf4_3926);
        assert_eq!(checksum(checksum(0, b"1234"), b"56789"), whole);
    }
}
