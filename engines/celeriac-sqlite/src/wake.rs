//! Wakes other processes that use the same file, and is woken by them.
//!
//! SQLite tells nobody that a file has changed. So each process in which somebody waits has a datagram socket in the
//! folder `FILE-wake`, and whoever commits sends a line to every socket there. A lost datagram costs time, never a
//! message: each process also looks at the file's change counter itself, once a second (four times where there are no
//! sockets), and only while somebody waits.
//!
//! The path of a socket has at most 107 bytes. Where `FILE-wake/…` would be longer, the sockets are in a folder of the
//! system's temporary folder that is named by a hash of the file's path; where that cannot be had either (another user
//! owns it, no Unix sockets), there is the looking alone.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use celeriac_core::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::{
    Config,
    hub::Hub,
    open::open_reader,
    sockets::{Deafen, Inbox, Peers},
    tx::Touched,
    writer::join,
};

/// How often the file is looked at when there are sockets too.
const LOOK_WITH_SOCKETS: Duration = Duration::from_secs(1);
/// How often the file is looked at when there are none.
const LOOK_WITHOUT_SOCKETS: Duration = Duration::from_millis(250);

/// Tells others, and listens once somebody here waits.
pub(crate) struct Waker {
    config: Config,
    hub: Arc<Hub>,
    peers: Option<Mutex<Peers>>,
    ear: Mutex<Ear>,
    stop: Arc<Stop>,
}

/// The thread that listens.
enum Ear {
    NotYet,
    Listening { thread: thread::JoinHandle<()>, deafen: Option<Deafen> },
    Closed,
}

#[derive(Default)]
struct Stop {
    told: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Waker {
    pub(crate) fn new(config: &Config, hub: Arc<Hub>) -> Self {
        let folder = if config.wake { crate::sockets::folder(&config.path) } else { None };
        Self {
            config: config.clone(),
            hub,
            peers: folder.map(|folder| Mutex::new(Peers::new(folder))),
            ear: Mutex::new(Ear::NotYet),
            stop: Arc::default(),
        }
    }

    /// Makes sure that this process hears of others. Called by whoever is about to wait.
    pub(crate) fn listen(&self) -> Result<()> {
        let mut ear = self.ear.lock();
        if !matches!(*ear, Ear::NotYet) {
            return Ok(());
        }
        let inbox = self.peers.as_ref().and_then(|peers| {
            let mut peers = peers.lock();
            match Inbox::bind(peers.folder()) {
                Ok(inbox) => {
                    peers.set_own(inbox.path());
                    Some(inbox)
                }
                Err(error) => {
                    tracing::warn!(
                        folder = %peers.folder().display(), %error,
                        "no wake-up socket: this process looks for new tasks four times a second"
                    );
                    None
                }
            }
        });
        let deafen = inbox.as_ref().and_then(Inbox::deafen);
        let conn = open_reader(&self.config)?;
        let (hub, stop) = (self.hub.clone(), self.stop.clone());
        let thread = thread::Builder::new()
            .name("celeriac-wake".into())
            .spawn(move || hear(&conn, inbox.as_ref(), &hub, &stop))
            .map_err(|error| Error::new(ErrorKind::Unavailable, "start the thread that wakes").with_source(error))?;
        *ear = Ear::Listening { thread, deafen };
        Ok(())
    }

    /// Tells the other processes what was committed. Never waits.
    pub(crate) fn tell(&self, touched: &Touched) {
        if let Some(peers) = &self.peers {
            peers.lock().tell(touched);
        }
    }

    /// Stops to listen, and waits for the thread's end. Idempotent.
    pub(crate) fn close(&self) {
        let ear = std::mem::replace(&mut *self.ear.lock(), Ear::Closed);
        if let Ear::Listening { thread, deafen } = ear {
            self.stop.told.store(true, Ordering::Release);
            drop(self.stop.lock.lock());
            self.stop.changed.notify_all();
            if let Some(deafen) = deafen {
                deafen.now();
            }
            join(thread);
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.close();
    }
}

fn hear(conn: &Connection, inbox: Option<&Inbox>, hub: &Hub, stop: &Stop) {
    let mut seen = change_counter(conn);
    while !stop.told.load(Ordering::Acquire) {
        let heard = if let Some(inbox) = inbox {
            inbox.hear(LOOK_WITH_SOCKETS)
        } else {
            let mut lock = stop.lock.lock();
            if !stop.told.load(Ordering::Acquire) {
                stop.changed.wait_for(&mut lock, LOOK_WITHOUT_SOCKETS);
            }
            None
        };
        if let Some(touched) = heard {
            hub.wake(&touched);
            continue;
        }
        if hub.is_idle() {
            continue;
        }
        let now = change_counter(conn);
        if now != seen {
            seen = now;
            hub.look(conn);
        }
    }
}

/// Changes when another connection has committed. None when the file cannot be read now: then nothing is new.
fn change_counter(conn: &Connection) -> Option<i64> {
    conn.prepare_cached("PRAGMA data_version").and_then(|mut statement| statement.query_row([], |row| row.get(0))).ok()
}

/// The file's path as others may write it too.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
