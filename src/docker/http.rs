//! HTTP/1.1 to the Engine over its Unix socket: one connection for each request.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

/// The latest API that is asked for; an older Engine is asked in its own. 1.44 is the least that Engine 29 knows.
const API: ApiVersion = ApiVersion(1, 44);
/// Of Docker 1.12: earlier ones do not list the mounts of other containers.
const OLDEST: ApiVersion = ApiVersion(1, 24);

/// As much of an answer is taken into memory: files and commands of the container say what its user wants.
pub const MOST_BYTES: usize = 128 << 20;

#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    /// `/v1.44`
    prefix: String,
}

/// A connection that has become the two streams of a command.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// The Engine's own refusal.
    #[error("{message}")]
    Status { code: u16, message: String },
    #[error("{0}")]
    Broken(String),
    #[error("no answer within {0} s")]
    Timeout(u64),
    #[error("it speaks the API {theirs} and this module {OLDEST} to {API}")]
    OtherApi { theirs: String },
}

impl Failure {
    pub fn code(&self) -> Option<u16> {
        match self {
            Failure::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<hyper::Error> for Failure {
    /// The innermost reason: hyper wraps "connection reset" in words that name no thing.
    fn from(error: hyper::Error) -> Failure {
        let mut innermost: &dyn std::error::Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Failure::Broken(innermost.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ApiVersion(u32, u32);

impl ApiVersion {
    fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.split_once('.')?;
        Some(ApiVersion(major.parse().ok()?, minor.parse().ok()?))
    }

    /// What both sides know. An Engine that has forgotten ours is asked in the oldest that it knows: what is
    /// asked for here has not changed since 1.24. Another major version would be another language.
    fn common(newest: Option<ApiVersion>, oldest: Option<ApiVersion>) -> Result<ApiVersion, Failure> {
        let ours = newest.map_or(API, |newest| API.min(newest));
        let common = oldest.map_or(ours, |oldest| ours.max(oldest));
        if common >= OLDEST && common.0 == API.0 {
            return Ok(common);
        }
        let theirs: Vec<String> = oldest.iter().chain(&newest).map(ToString::to_string).collect();
        Err(Failure::OtherApi { theirs: theirs.join(" to ") })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineVersion {
    api_version: Option<String>,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: Option<String>,
}

/// What refuses a request says why in this.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Client {
    /// Asks the Engine which API it speaks.
    pub async fn connect(socket: &Path) -> Result<Client, Failure> {
        let client = Client { socket: socket.to_owned(), prefix: String::new() };
        let engine: EngineVersion = client.json(Method::GET, "/version", None).await?;
        let parse = |version: Option<String>| version.as_deref().and_then(ApiVersion::parse);
        let api = ApiVersion::common(parse(engine.api_version), parse(engine.min_api_version))?;
        Ok(Client { prefix: format!("/v{api}"), ..client })
    }

    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, Failure> {
        let answer = self.bytes(method, path, body).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| Failure::Broken(format!("its answer makes no sense: {error}")))
    }

    pub async fn bytes(&self, method: Method, path: &str, body: Option<Value>) -> Result<Bytes, Failure> {
        let answer = self.send(method, path, body, false).await?;
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => Failure::from(*error),
            Err(_) => Failure::Broken(format!("its answer has more than {MOST_BYTES} bytes")),
        });
        Ok(body?.to_bytes())
    }

    pub async fn head(&self, path: &str) -> Result<HeaderMap, Failure> {
        Ok(self.send(Method::HEAD, path, None, false).await?.headers().clone())
    }

    /// Turns the connection into a stream in both directions.
    pub async fn upgrade(&self, path: &str, body: Value) -> Result<Upgraded, Failure> {
        let answer = self.send(Method::POST, path, Some(body), true).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Broken(format!(
                "it answered {} to a request for a stream",
                answer.status()
            )));
        }
        Ok(TokioIo::new(hyper::upgrade::on(answer).await?))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(Failure::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, or with the stream that it has become; its errors reach the request.
        tokio::spawn(connection.with_upgrades());
        let mut request =
            Request::builder().method(method).uri(format!("{}{path}", self.prefix)).header(HOST, "docker");
        if upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(|error| Failure::Broken(error.to_string()))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // 304: the container is in that state already.
        if status.is_success() || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS)
        {
            return Ok(answer);
        }
        let text = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let message = match serde_json::from_slice::<Refusal>(&text) {
            Ok(refusal) => refusal.message.trim().to_owned(),
            Err(_) if text.is_empty() => status.to_string(),
            Err(_) => String::from_utf8_lossy(&text).trim().to_owned(),
        };
        Err(Failure::Status { code: status.as_u16(), message })
    }
}

/// A value as part of a URL's path or query.
pub fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte))
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_what_both_sides_know() {
        let common = |newest, oldest| {
            let common = ApiVersion::common(ApiVersion::parse(newest), ApiVersion::parse(oldest));
            common.map_or_else(|failure| failure.to_string(), |api| api.to_string())
        };
        assert_eq!(common("1.41", "1.12"), "1.41");
        assert_eq!(common("1.24", ""), "1.24");
        assert_eq!(common("1.52", "1.44"), "1.44");
        assert_eq!(common("1.60", "1.48"), "1.48");
        assert_eq!(common("", ""), "1.44");
        assert_eq!(common("1.23", ""), "it speaks the API 1.23 and this module 1.24 to 1.44");
        assert_eq!(common("2.3", "2.0"), "it speaks the API 2.0 to 2.3 and this module 1.24 to 1.44");
    }

    #[test]
    fn what_a_url_cannot_hold_is_encoded() {
        assert_eq!(encoded("/etc/cassandra.yaml"), "/etc/cassandra.yaml");
        assert_eq!(encoded("a b?c&d#é"), "a%20b%3Fc%26d%23%C3%A9");
    }
}
