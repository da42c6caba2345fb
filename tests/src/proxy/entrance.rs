//! The thread that takes connections, dials the real address for each, and refuses them while the network is down.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Pair};
use super::plan::{Close, Direction};
use super::pump::Pump;
use super::shared::Shared;
use super::socket::{Broken, Listener, Socket, Wake};

/// What the proxy does at its door.
enum Turn {
    Take,
    Refuse(Duration),
    End,
}

/// Until the proxy ends.
pub(super) fn serve(shared: &Arc<Shared>, mut listener: Listener) {
    loop {
        shared.wake.clear();
        match turn(shared) {
            Turn::End => return,
            Turn::Refuse(left) => {
                listener.close();
                shared.wake.wait(Some(left));
            }
            Turn::Take => {
                if listener.reopen().is_err() {
                    // Out of descriptors, perhaps: there may be some later.
                    shared.wake.wait(Some(Duration::from_millis(10)));
                } else if let Ok(dialler) = listener.accept(&shared.wake) {
                    admit(shared, dialler);
                }
            }
        }
    }
}

fn turn(shared: &Shared) -> Turn {
    let mut registry = shared.registry();
    let left = registry.down.and_then(|down| down.left(Instant::now()));
    match left {
        _ if registry.ended => Turn::End,
        Some(left) => Turn::Refuse(left),
        None => {
            registry.down = None;
            Turn::Take
        }
    }
}

/// Who cannot be admitted is reset: nobody listens behind the proxy, or the network has just gone down.
fn admit(shared: &Arc<Shared>, dialler: Socket) {
    let listener = match Socket::dial(&shared.target, &shared.wake) {
        Ok(listener) => listener,
        Err(Broken::Woken | Broken::Failed) => return dialler.reset_when_closed(),
    };
    let Ok(wake) = Wake::new() else { return dialler.reset_when_closed() };
    let mut registry = shared.registry();
    if registry.ended || registry.down.is_some() {
        listener.reset_when_closed();
        return dialler.reset_when_closed();
    }
    let connection = Arc::new(Connection::new(registry.connections.len(), wake));
    registry.connections.push(Arc::clone(&connection));
    let pair = Arc::new(Pair::new(Arc::clone(&connection), dialler, listener));
    for direction in Direction::ALL {
        let name = format!("proxy-c{}", connection.number);
        let pump = Pump {
            shared: Arc::clone(shared),
            connection: Arc::clone(&connection),
            pair: Arc::clone(&pair),
            direction,
            truncated: false,
        };
        match thread::Builder::new().name(name).spawn(move || pump.run()) {
            Ok(thread) => registry.threads.push(thread),
            // Half a connection would hang.
            Err(_) => connection.cut(Close::Reset),
        }
    }
}
