//! The datagram sockets beside the file, and what is said over them.
//!
//! A datagram is lines: `q` and a queue, `r` and a task id, `b` for broadcasts, `*` for anything. What does not parse
//! wakes everybody, which is never wrong.

use std::{
    fs, io,
    net::Shutdown,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{layout::WAKE_SUFFIX, tx::Touched, wake::absolute};

/// The longest path a socket can have, without its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Room for `/`, a process id, a number and `.sock`.
const SOCKET_NAME_BYTES_MAX: usize = 34;
/// How many processes are told. The others look by themselves.
const PEERS_MAX: usize = 64;
/// What a datagram says at most; beyond it says "anything".
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// A folder's time of change is this coarse on some file systems: a listing that is not older may miss a socket.
const FOLDER_TIME_COARSE: Duration = Duration::from_millis(100);

/// Where the sockets of the file at `path` are; none when there is no path short enough.
pub(crate) fn folder(path: &Path) -> Option<PathBuf> {
    let path = absolute(path);
    let mut beside = path.clone().into_os_string();
    beside.push(WAKE_SUFFIX);
    let fits = |folder: &Path| folder.as_os_str().len() + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX;
    let beside = PathBuf::from(beside);
    if fits(&beside) {
        return Some(beside);
    }
    let short = std::env::temp_dir().join(format!("celeriac-{:016x}", fnv1a(path.as_os_str().as_bytes())));
    fits(&short).then_some(short)
}

/// The FNV-1a hash: the same in every process and version, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The sockets of the other processes.
pub(crate) struct Peers {
    folder: PathBuf,
    own: Option<PathBuf>,
    socket: Option<UnixDatagram>,
    known: Vec<PathBuf>,
    /// The folder's time of change when `known` was read, if that says anything.
    as_of: Option<SystemTime>,
}

impl Peers {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket)).ok();
        Self { folder, own: None, socket, known: Vec::new(), as_of: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says which socket is this process's own, not to be told.
    pub(crate) fn set_own(&mut self, own: &Path) {
        self.own = Some(own.to_owned());
        self.known.retain(|peer| peer != own);
    }

    /// Tells all; removes the sockets that nobody listens at any more.
    pub(crate) fn tell(&mut self, touched: &Touched) {
        self.look();
        if self.known.is_empty() {
            return;
        }
        let datagram = write(touched);
        let known = std::mem::take(&mut self.known);
        self.known = known.into_iter().filter(|peer| self.send(peer, &datagram)).collect();
    }

    /// False when nobody is there any more.
    fn send(&self, peer: &Path, datagram: &[u8]) -> bool {
        let Some(socket) = &self.socket else { return false };
        match socket.send_to(datagram, peer) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Its process has ended without a word. Another one may remove it at the same time.
                let _ = fs::remove_file(peer);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Its queue is full: it has enough reason to wake up. Or it is another user's: it looks by itself.
            Ok(_) | Err(_) => true,
        }
    }

    fn look(&mut self) {
        let changed = fs::metadata(&self.folder).and_then(|folder| folder.modified()).ok();
        let Some(changed) = changed else {
            self.known.clear();
            self.as_of = None;
            return;
        };
        if self.as_of == Some(changed) {
            return;
        }
        let settled = changed.elapsed().is_ok_and(|age| age > FOLDER_TIME_COARSE);
        self.as_of = settled.then_some(changed);
        self.known = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
            .filter(|path| self.own.as_ref() != Some(path))
            .take(PEERS_MAX)
            .collect();
    }
}

/// This process's own socket. Removed when dropped.
pub(crate) struct Inbox {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Inbox {
    /// Makes a socket in `folder`, and the folder if need be.
    pub(crate) fn bind(folder: &Path) -> io::Result<Self> {
        // Whoever leaves removes an empty folder: between its making and our binding it may be gone again.
        let mut tries = 0;
        loop {
            make_folder(folder)?;
            let path = folder.join(format!("{}-{:08x}.sock", std::process::id(), fresh()));
            match UnixDatagram::bind(&path) {
                Ok(socket) => {
                    let inbox = Self { socket, path };
                    check_folder(folder, &inbox.path)?;
                    return Ok(inbox);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 8 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What ends the waiting of [`Self::hear`] from another thread. None when the process has no descriptor left.
    pub(crate) fn deafen(&self) -> Option<Deafen> {
        self.socket.try_clone().ok().map(Deafen)
    }

    /// Waits for a datagram for as long as `limit`.
    pub(crate) fn hear(&self, limit: Duration) -> Option<Touched> {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        self.socket.set_read_timeout(Some(limit)).ok()?;
        let length = self.socket.recv(&mut datagram).ok()?;
        Some(read(&datagram[..length]))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // Both may have been done by somebody else already, and a folder in use stays.
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Closes an [`Inbox`] to the world.
///
/// By the socket itself and not by a datagram to its path: somebody may have removed the folder, and then a thread that
/// is to end would sleep to the end of its nap.
pub(crate) struct Deafen(UnixDatagram);

impl Deafen {
    pub(crate) fn now(self) {
        // Fails on a broken socket only, at which nobody waits.
        let _ = self.0.shutdown(Shutdown::Read);
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A folder in a place where everybody may write must be ours alone: others could read queue names there.
fn check_folder(folder: &Path, own: &Path) -> io::Result<()> {
    let (folder, own) = (fs::symlink_metadata(folder)?, fs::symlink_metadata(own)?);
    if folder.is_dir() && folder.uid() == own.uid() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder for wake-up sockets belongs to another user"))
}

/// Distinguishes the engines of one process, and this process from an earlier one with the same id.
fn fresh() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of a random number will do")]
    let random = RandomState::new().hash_one(0) as u32;
    random
}

fn write(touched: &Touched) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(128);
    let lines = (touched.queues.iter().map(|queue| ('q', queue))).chain(touched.results.iter().map(|id| ('r', id)));
    for (kind, name) in lines {
        if datagram.len() + name.len() + 4 > DATAGRAM_BYTES_MAX {
            return b"*\n".to_vec();
        }
        datagram.push(kind as u8);
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'\n');
    }
    if touched.broadcasts {
        datagram.extend_from_slice(b"b\n");
    }
    if touched.everything { b"*\n".to_vec() } else { datagram }
}

fn read(datagram: &[u8]) -> Touched {
    let Ok(text) = std::str::from_utf8(datagram) else { return Touched::everything() };
    let mut touched = Touched::default();
    for line in text.lines() {
        match line.split_at_checked(1) {
            Some(("q", queue)) => touched.queues.extend([queue.into()]),
            Some(("r", id)) => touched.results.extend([id.into()]),
            Some(("b", "")) => touched.broadcasts = true,
            _ => touched.everything = true,
        }
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(queues: &[&str], results: &[&str]) -> Touched {
        Touched {
            queues: queues.iter().map(|name| (*name).into()).collect(),
            results: results.iter().map(|name| (*name).into()).collect(),
            ..Touched::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let sent = Touched { broadcasts: true, ..touched(&["mail", "später; DROP"], &["id-1"]) };
        assert_eq!(read(&write(&sent)), sent);
    }

    #[test]
    fn too_much_to_say_wakes_everybody() {
        let names: Vec<String> = (0..100).map(|number| format!("{number:0>50}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(read(&write(&touched(&names, &[]))).everything);
    }

    #[test]
    fn noise_wakes_everybody() {
        assert!(read(b"\xff\xfe").everything);
        assert!(read(b"?what").everything);
    }

    #[test]
    fn a_long_path_moves_the_sockets_to_the_temporary_folder() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let short = folder(&deep.join("tasks.db")).unwrap();
        assert!(short.starts_with(std::env::temp_dir()) && !short.starts_with(root.path()), "{}", short.display());
        let inbox = Inbox::bind(&short).unwrap();
        let mut peers = Peers::new(short);
        peers.tell(&touched(&["mail"], &[]));
        assert_eq!(inbox.hear(Duration::from_secs(5)), Some(touched(&["mail"], &[])));
    }

    #[test]
    fn who_listens_is_ended_also_when_the_folder_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let inbox = Inbox::bind(&root.path().join("wake")).unwrap();
        let deafen = inbox.deafen().unwrap();
        drop(root);
        let (done, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            inbox.hear(Duration::from_hours(1));
            done.send(()).unwrap();
        });
        deafen.now();
        ended.recv_timeout(Duration::from_mins(1)).expect("it does not wait for the hour to end");
        thread.join().unwrap();
    }

    #[test]
    fn a_socket_that_nobody_listens_at_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let stale = root.path().join("1-0.sock");
        drop(UnixDatagram::bind(&stale).unwrap());
        let mut peers = Peers::new(root.path().to_owned());
        peers.tell(&touched(&["mail"], &[]));
        assert!(!stale.exists());
    }
}
