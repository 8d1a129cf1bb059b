//! HTTP/1.1 as far as a Docker client needs it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub body: Vec<u8>,
}

impl Request {
    /// The next request of the connection, `None` once the client has closed it.
    pub fn read(reader: &mut BufReader<UnixStream>) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.split_once(':') else { break };
            assert!(
                !name.eq_ignore_ascii_case("transfer-encoding"),
                "the fake engine reads no chunked bodies"
            );
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a content-length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Request { method, target, body }))
    }

    /// The path's segments, without the API version.
    pub fn segments(&self) -> Vec<String> {
        let path = self.target.split('?').next().unwrap_or_default();
        let is_version = |first: &str| first.starts_with("v1.");
        let segments = path.trim_matches('/').split('/').map(decode);
        segments
            .enumerate()
            .filter(|(at, name)| *at != 0 || !is_version(name))
            .map(|(_, name)| name)
            .collect()
    }

    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).next()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Undoes percent-encoding, and `+` for a space.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn empty(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn bytes(content_type: &str, body: Vec<u8>) -> Response {
        Response { status: 200, headers: vec![("Content-Type", content_type.to_owned())], body }
    }

    pub fn json(status: u16, value: &Value) -> Response {
        Response { status, ..Response::bytes("application/json", value.to_string().into_bytes()) }
    }

    /// An error as the Engine words it.
    pub fn error(status: u16, message: impl Into<String>) -> Response {
        Response::json(status, &json!({ "message": message.into() }))
    }

    /// The bytes on the wire; the answer to a HEAD has no body.
    pub fn to_bytes(&self, method: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        head.push_str("Api-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !matches!(self.status, 204 | 304) {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        409 => "Conflict",
        _ => "Whatever",
    }
}

/// What turns an exec's connection into a raw stream, in both directions.
pub fn upgrade(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
          Connection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.41\r\n\r\n",
    )
}

/// Stands for a byte that is no UTF-8 in what a container says.
pub const NO_UTF8: &str = "\u{f8ff}";

/// A piece of a multiplexed stream: 1 is stdout, 2 is stderr.
pub fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let bytes = text.split(NO_UTF8).map(str::as_bytes).collect::<Vec<_>>().join(&0xff);
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend_from_slice(&u32::try_from(bytes.len()).expect("a small output").to_be_bytes());
    frame.extend_from_slice(&bytes);
    frame
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let digit_at = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[digit_at]) } else { '=' });
        }
    }
    text
}
