//! Peers that do not play by the rules, over real sockets, against a real receiver and a real sender: each gets a typed
//! error that names what was wrong, learns the reason where it still listens, and has written nothing.

mod attack;
mod destination;
mod frames;
mod handshake;
mod on_the_way;
mod payloads;
mod rounds;

use pageferry_tests::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
