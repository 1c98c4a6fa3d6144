//! Several processes on one file, some of them killed in the middle.
//!
//! The processes are this very test program, started again to run one of the ignored tests below in a role.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use celeriac_core::{
    Clock, Message, Priority, Publication, QueueName, Settlement, Subscription, TaskId, TaskName, WorkerName,
};
use celeriac_sqlite::{Config, SqliteEngine};
use rusqlite::Connection;

const FILE: &str = "CELERIAC_TEST_FILE";
const NAME: &str = "CELERIAC_TEST_NAME";
/// How many messages one producer publishes.
const MESSAGES: usize = 6_000;

fn queue() -> QueueName {
    QueueName::new("mail").unwrap()
}

fn open() -> SqliteEngine {
    let path = PathBuf::from(env::var_os(FILE).expect("started by the test"));
    SqliteEngine::open(Config::new(path), Clock::system()).expect("opens")
}

fn subscription(worker: &str) -> Subscription {
    Subscription { worker: WorkerName::new(worker).unwrap(), queues: vec![queue()], lease: Duration::from_millis(700) }
}

fn say(word: &str, id: &str) {
    // One write a line, so that a kill cuts none in two.
    std::io::stdout().write_all(format!("\n{word} {id}\n").as_bytes()).expect("the test listens");
}

#[test]
#[ignore = "a role of the tests below"]
fn producer() {
    let name = env::var(NAME).expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = open();
        let broker = engine.broker();
        let ids: Vec<String> = (0..MESSAGES).map(|number| format!("{name}-{number}")).collect();
        for chunk in ids.chunks(15) {
            let batch = chunk
                .iter()
                .map(|id| Publication {
                    task_id: TaskId::new(id).unwrap(),
                    task: TaskName::new("tests.task").unwrap(),
                    queue: queue(),
                    priority: Priority(0),
                    due: None,
                    unique: None,
                    message: Message { body: vec![b'x'; 700].into(), ..Message::default() },
                })
                .collect();
            match broker.publish(batch).await {
                Ok(_) => {
                    for id in chunk {
                        say("published", id);
                    }
                }
                Err(error) => say("error", &error.to_string()),
            }
        }
        engine.close().await.unwrap();
    });
}

#[test]
#[ignore = "a role of the tests below"]
fn worker() {
    let name = env::var(NAME).expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = open();
        let consumer = engine.broker().consume(subscription(&name)).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        // The test closes our input to stop us.
        let reader = thread::spawn(move || {
            let _ = std::io::stdin().read_line(&mut String::new());
            let _ = stop.send(());
        });
        tokio::pin!(stopped);
        loop {
            let received = tokio::select! {
                _ = &mut stopped => break,
                received = consumer.recv(20) => received,
            };
            let outcome = match received {
                Ok(deliveries) => {
                    for delivery in &deliveries {
                        say("got", delivery.task_id.as_str());
                    }
                    consumer
                        .settle(deliveries.into_iter().map(|delivery| Settlement::Ack(delivery.tag)).collect())
                        .await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                say("error", &error.to_string());
            }
        }
        engine.close().await.unwrap();
        reader.join().unwrap();
    });
}

/// Claims some and sits on them until it is killed.
#[test]
#[ignore = "a role of the tests below"]
fn hoarder() {
    let name = env::var(NAME).expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = open();
    let consumer = runtime.block_on(engine.broker().consume(subscription(&name))).unwrap();
    for delivery in runtime.block_on(consumer.recv(20)).unwrap() {
        say("held", delivery.task_id.as_str());
    }
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Waits for tasks that never come.
#[test]
#[ignore = "a role of the tests below"]
fn idler() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let from = Subscription { lease: Duration::from_secs(30), ..subscription("idler") };
        let consumer = open().broker().consume(from).await.unwrap();
        say("held", "nothing");
        consumer.recv(1).await.unwrap();
    });
}

/// What the processes say: the index of the process, the word, the id.
type Said = (usize, String, String);

struct Race {
    path: PathBuf,
    children: Vec<Child>,
    say: mpsc::Sender<Said>,
    hear: mpsc::Receiver<Said>,
    listeners: Vec<thread::JoinHandle<()>>,
}

impl Race {
    fn new(path: &Path) -> Self {
        let (say, hear) = mpsc::channel();
        Self { path: path.to_owned(), children: Vec::new(), say, hear, listeners: Vec::new() }
    }

    fn start(&mut self, role: &str) -> usize {
        let index = self.children.len();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", role, "--ignored", "--nocapture", "--test-threads=1"])
            .env(FILE, &self.path)
            .env(NAME, format!("{role}{index}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let say = self.say.clone();
        self.listeners.push(thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((word @ ("published" | "got" | "held" | "error"), id)) = line.split_once(' ') {
                    let _ = say.send((index, word.to_owned(), id.to_owned()));
                }
            }
        }));
        self.children.push(child);
        index
    }

    fn kill(&mut self, index: usize) {
        self.children[index].kill().unwrap();
        self.children[index].wait().unwrap();
    }
}

impl Drop for Race {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Those that have ended are no error.
            let _ = child.kill();
            let _ = child.wait();
        }
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

/// Two producers and two workers race beside one that only hoards; a producer, a worker and the hoarder are killed in
/// the middle, and another worker takes over.
#[test]
fn killed_processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let mut race = Race::new(&path);
    let doomed_producer = race.start("producer");
    let hoarder = race.start("hoarder");
    let doomed_worker = race.start("worker");
    let producer = race.start("producer");
    let other_worker = race.start("worker");
    let (mut published, mut got, mut held) = (BTreeSet::new(), BTreeSet::new(), 0);
    let (mut got_by_doomed, mut published_by_doomed, mut published_by_other, mut repeats) = (0, 0, 0, 0);
    let mut substitute = None;
    while published_by_other < MESSAGES || substitute.is_none() || held == 0 || !published.is_subset(&got) {
        let (index, word, id) = race
            .hear
            .recv_timeout(Duration::from_mins(1))
            .unwrap_or_else(|_| panic!("lost: {:?}", published.difference(&got).take(10).collect::<Vec<_>>()));
        match &*word {
            "error" => panic!("process {index}: {id}"),
            "held" => {
                // Published, whether the producer lived to say so or not.
                published.insert(id);
                held += 1;
                if held == 1 {
                    race.kill(hoarder);
                }
            }
            "published" => {
                published.insert(id);
                published_by_doomed += usize::from(index == doomed_producer);
                published_by_other += usize::from(index == producer);
                if published_by_doomed == MESSAGES / 4 && index == doomed_producer {
                    race.kill(doomed_producer);
                }
            }
            _ => {
                repeats += usize::from(!got.insert(id));
                got_by_doomed += usize::from(index == doomed_worker);
                if got_by_doomed >= 300 && substitute.is_none() {
                    race.kill(doomed_worker);
                    substitute = Some(race.start("worker"));
                }
            }
        }
    }
    for worker in [other_worker, substitute.expect("a substitute")] {
        drop(race.children[worker].stdin.take());
        assert!(race.children[worker].wait().unwrap().success());
    }
    assert!(race.children[producer].wait().unwrap().success());
    println!("{} published and got, {held} of them hoarded, {repeats} repeated", published.len());
    let integrity: String =
        Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

/// Many processes that open a new file at the same moment agree on who makes it.
#[test]
fn a_race_to_make_the_file_has_no_losers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db");
    let mut race = Race::new(&path);
    for _ in 0..4 {
        race.start("worker");
    }
    for index in 0..4 {
        drop(race.children[index].stdin.take());
    }
    for index in 0..4 {
        assert!(race.children[index].wait().unwrap().success());
    }
}

/// A worker without work looks once a second, and sleeps in between.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_worker_costs_next_to_nothing() {
    const WATCHED: Duration = Duration::from_secs(3);
    let folder = tempfile::tempdir().unwrap();
    let mut race = Race::new(&folder.path().join("tasks.db"));
    let idler = race.start("idler");
    let ready = race.hear.recv_timeout(Duration::from_mins(1)).unwrap();
    assert_eq!(ready.1, "held");
    let process = race.children[idler].id();
    let before = (times_woken(process), cpu_millis(process));
    // Nothing is said, which is what we wait for.
    assert!(race.hear.recv_timeout(WATCHED).is_err());
    let (woken, millis) = (times_woken(process) - before.0, cpu_millis(process) - before.1);
    assert!(woken < 5 * WATCHED.as_secs(), "woken {woken} times in {WATCHED:?}");
    assert!(u128::from(millis) < WATCHED.as_millis() / 100, "{millis} ms of CPU in {WATCHED:?}");
}

/// How often all threads of a process went to sleep: more often than it asked SQLite anything.
#[cfg(target_os = "linux")]
fn times_woken(process: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .map(|thread| {
            let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        })
        .sum()
}

#[cfg(target_os = "linux")]
fn cpu_millis(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // Hundredths of a second, in user and in system mode.
    10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}
