//! The Engine's socket: connections, the log of requests, faults on demand. What a request does is in `api.rs`.

use std::fmt;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::api::{Answer, World};
use super::http::{Request, Response, frame, upgrade};

/// Nothing here takes longer: a test that waits for more has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is done; this status and message are answered.
    Status(u16, &'static str),
    /// Nothing is done; the connection is closed.
    Close,
    /// It is done; the connection is closed before the answer.
    LoseAnswer,
    /// It is done; the connection is closed in the middle of the answer.
    Cut,
    /// Of an exec: its connection is closed as soon as it has begun, its command goes on and on.
    Abandon,
    /// Nothing is done and nothing answered, until the client gives up.
    Silence,
    /// Nothing is done; this text is answered, as if all were well.
    Nonsense(&'static str),
    /// Nothing is done; what is answered is not HTTP.
    Babble(&'static str),
    /// It waits at the gate before it is done.
    Hold(Gate),
}

/// Holds requests back until the test has seen one and let it go.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<(bool, bool)>, Condvar)>);

impl Gate {
    /// Waits until a request stands before the gate.
    pub fn wait_until_reached(&self) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let (_state, waited) = changed.wait_timeout_while(state, PATIENCE, |(reached, _)| !*reached).unwrap();
        assert!(!waited.timed_out(), "no request reached the gate");
    }

    pub fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }

    fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 = true;
        changed.notify_all();
        drop(changed.wait_timeout_while(state, PATIENCE, |(_, open)| !*open));
    }
}

/// A request as it came, the container's id in its path replaced by the name.
#[derive(Debug, Clone)]
pub struct Logged {
    pub method: String,
    /// Path and query, without the API version.
    pub path: String,
    pub body: String,
}

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

struct Armed {
    pattern: String,
    /// How many matching requests go well before the fault.
    spare: usize,
    every: bool,
    fault: Fault,
}

/// The Engine of one node. It stops listening when it is dropped.
pub struct FakeEngine {
    socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    world: Arc<World>,
    log: Mutex<Vec<Logged>>,
    logged: Condvar,
    faults: Mutex<Vec<Armed>>,
    ending: AtomicBool,
}

impl FakeEngine {
    pub(super) fn listen(socket: PathBuf, world: Arc<World>) -> FakeEngine {
        let listener = UnixListener::bind(&socket).expect("a Unix socket in the temporary directory");
        let shared = Arc::new(Shared {
            world,
            log: Mutex::default(),
            logged: Condvar::new(),
            faults: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.ending.load(Ordering::Relaxed) {
                    return;
                }
                let server = server.clone();
                let stream = stream.expect("a connection");
                // A client that was killed leaves a broken connection: no failure of the test.
                std::thread::spawn(move || server.serve(stream).ok());
            }
        });
        FakeEngine { socket, shared }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn requests(&self) -> Vec<Logged> {
        self.shared.log.lock().unwrap().clone()
    }

    /// What was asked so far; an armed fault stays.
    pub fn forget(&self) {
        self.shared.log.lock().unwrap().clear();
    }

    /// Every request whose `METHOD /path?query` begins so goes wrong from now on.
    pub fn fail(&self, pattern: &str, fault: Fault) {
        self.arm(Armed { pattern: pattern.to_owned(), spare: 0, every: true, fault });
    }

    /// Only the nth such request from now on goes wrong; the first is 1.
    pub fn fail_nth(&self, pattern: &str, nth: usize, fault: Fault) {
        self.arm(Armed { pattern: pattern.to_owned(), spare: nth - 1, every: false, fault });
    }

    /// The nth such request from now on and all after it go wrong.
    pub fn fail_from(&self, pattern: &str, nth: usize, fault: Fault) {
        self.arm(Armed { pattern: pattern.to_owned(), spare: nth - 1, every: true, fault });
    }

    /// The next such request waits at the gate.
    pub fn hold(&self, pattern: &str) -> Gate {
        let gate = Gate::default();
        self.fail_nth(pattern, 1, Fault::Hold(gate.clone()));
        gate
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.faults().clear();
    }

    /// Whether a fault goes on, or is still to come.
    pub fn is_failing(&self) -> bool {
        !self.faults().is_empty()
    }

    /// Waits until such a request has come, since the log had `since` entries.
    pub fn wait_for(&self, pattern: &str, since: usize) {
        let came =
            |log: &Vec<Logged>| log.iter().skip(since).any(|entry| entry.to_string().starts_with(pattern));
        let log = self.shared.log.lock().unwrap();
        let (log, waited) = self.shared.logged.wait_timeout_while(log, PATIENCE, |log| !came(log)).unwrap();
        assert!(!waited.timed_out(), "no `{pattern}` came; the log is {log:#?}");
    }

    fn arm(&self, armed: Armed) {
        self.faults().push(armed);
    }

    fn faults(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.shared.faults.lock().unwrap()
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(UnixStream::connect(&self.socket));
    }
}

impl Shared {
    fn serve(&self, stream: UnixStream) -> std::io::Result<()> {
        let mut stream = stream;
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            let logged = self.log(&request);
            let fault = self.fault_for(&logged.to_string());
            match &fault {
                Some(Fault::Status(status, message)) => {
                    let refusal = Response::error(*status, *message);
                    stream.write_all(&refusal.to_bytes(&request.method))?;
                    continue;
                }
                Some(Fault::Nonsense(text)) => {
                    let answer = Response::bytes("text/html", text.as_bytes().to_vec());
                    stream.write_all(&answer.to_bytes(&request.method))?;
                    continue;
                }
                Some(Fault::Babble(text)) => return stream.write_all(text.as_bytes()),
                Some(Fault::Close) => return Ok(()),
                Some(Fault::Silence) => return reader.read_to_end(&mut Vec::new()).map(|_| ()),
                Some(Fault::Hold(gate)) => gate.pass(),
                Some(Fault::LoseAnswer | Fault::Cut | Fault::Abandon) | None => {}
            }
            let answer = match self.world.answer(&request) {
                Answer::Response(response) => response.to_bytes(&request.method),
                Answer::Exec(id) => {
                    upgrade(&mut stream)?;
                    if matches!(fault, Some(Fault::Abandon)) {
                        return Ok(());
                    }
                    if self.world.hangs(&id) {
                        return self.wait_until_given_up(&mut reader, &id);
                    }
                    let input =
                        if self.world.reads_stdin(&id) { read_input(&mut reader)? } else { String::new() };
                    let (stdout, stderr) = self.world.run_exec(&id, &input);
                    let mut output = if stdout.is_empty() { Vec::new() } else { frame(1, stdout.as_bytes()) };
                    output.extend(if stderr.is_empty() { Vec::new() } else { frame(2, stderr.as_bytes()) });
                    send(&mut stream, &output, fault.as_ref())?;
                    return Ok(());
                }
            };
            send(&mut stream, &answer, fault.as_ref())?;
            if fault.is_some_and(|fault| matches!(fault, Fault::LoseAnswer | Fault::Cut)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Until the client gives up the command that hangs, or the container has died.
    fn wait_until_given_up(&self, reader: &mut BufReader<UnixStream>, exec: &str) -> std::io::Result<()> {
        reader.get_ref().set_read_timeout(Some(Duration::from_millis(20)))?;
        while !self.world.has_ended(exec) {
            match reader.read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn log(&self, request: &Request) -> Logged {
        let query = request.target.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
        let logged = Logged {
            method: request.method.clone(),
            path: self.world.by_name(&format!("/{}{query}", request.segments().join("/"))),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        };
        self.log.lock().unwrap().push(logged.clone());
        self.logged.notify_all();
        logged
    }

    fn fault_for(&self, line: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|armed| line.starts_with(&armed.pattern))?;
        if faults[at].spare > 0 {
            faults[at].spare -= 1;
            return None;
        }
        if faults[at].every {
            return Some(faults[at].fault.clone());
        }
        Some(faults.remove(at).fault)
    }
}

fn send(stream: &mut UnixStream, answer: &[u8], fault: Option<&Fault>) -> std::io::Result<()> {
    match fault {
        Some(Fault::LoseAnswer) => Ok(()),
        Some(Fault::Cut) => stream.write_all(&answer[..answer.len() / 2]),
        _ => stream.write_all(answer),
    }
}

/// Standard input of a command: to its end, which the client tells by closing its half of the connection.
fn read_input(reader: &mut BufReader<UnixStream>) -> std::io::Result<String> {
    reader.get_ref().set_read_timeout(Some(PATIENCE))?;
    let mut input = String::new();
    reader.read_to_string(&mut input)?;
    Ok(input)
}
