//! HTTP for providers: addresses, API keys from the environment, errors in words.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use super::network::Settings;
use super::secret::Veil;
use super::{BuildError, CallError, ErrorKind, quota};
use crate::net::{Connection, client, is_loopback};
use crate::process;
use crate::spec::KeyHost;

/// The longest answer that is read, in bytes, unpacked.
const MAX_ANSWER: usize = 64 << 20;

/// The longest file that is read: the answers of a whole batch.
const MAX_FILE: usize = 1 << 30;

/// Where an API is found, and how it must be called.
pub(super) struct Address {
    /// The base URL of models whose spec names none.
    pub default_url: &'static str,
    /// The path that is appended to the base URL.
    pub path: &'static str,
    /// The environment variable with the provider's API key, and the provider's host. That key is sent to this host and
    /// to loopback addresses, and nowhere else.
    pub default_key: (&'static str, &'static str),
    /// Returns name and value of the header that carries the key.
    pub key_header: fn(&str) -> (&'static str, String),
    /// Headers that the API wants with every call.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Other tools write this API's base URL without the `/v1` at its end.
    pub has_bare_root: bool,
}

/// An endpoint, and what may be sent to it.
pub(super) struct Endpoint {
    /// The base URL as it enters the key: normalised, with its query.
    pub base_url: String,
    url: Url,
    /// The variable that holds the API key, and whether the spec names that variable.
    key_env: Option<(String, bool)>,
    key_header: fn(&str) -> (&'static str, String),
    headers: HeaderMap,
    connect_timeout: Duration,
    timeout: Duration,
    is_loopback: bool,
    /// Made at the first call.
    line: OnceLock<Line>,
}

/// An answer with status 200.
pub(super) struct Posted {
    pub text: String,
    /// Seconds until the next call makes sense, if a quota is used up.
    pub pause: Option<f64>,
}

/// What is sent, with its media type.
pub(super) struct Content {
    kind: String,
    bytes: Vec<u8>,
}

impl Content {
    /// Returns JSON.
    pub fn json(text: String) -> Content {
        Content { kind: "application/json".to_owned(), bytes: text.into_bytes() }
    }

    /// Returns a form with fields, and a file with its field, name and text.
    pub fn form(fields: &[(&str, &str)], (field, name, text): (&str, &str, &str)) -> Content {
        let boundary = format!("etalon-{:032x}", fastrand::u128(..));
        let mut body = String::with_capacity(text.len() + 512);
        for (field, value) in fields {
            body.push_str(&format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
            ));
        }
        body.push_str(&format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\ncontent-type: application/jsonl\r\n\r\n{text}\r\n--{boundary}--\r\n"
        ));
        Content { kind: format!("multipart/form-data; boundary={boundary}"), bytes: body.into_bytes() }
    }
}

/// What every call to an endpoint shares.
struct Line {
    client: Client,
    headers: HeaderMap,
    veil: Option<Veil>,
}

/// Returns a time; one that is no time has been complained about.
fn seconds(given: Option<f64>, unless: f64) -> Duration {
    Duration::try_from_secs_f64(given.unwrap_or(unless)).unwrap_or(Duration::from_secs_f64(unless))
}

impl Endpoint {
    /// Parses and normalises an address.
    pub fn new(address: &Address, settings: &Settings) -> Result<Endpoint, BuildError> {
        let Address { default_url, path, default_key, .. } = address;
        let base_url = settings.base_url.as_deref().unwrap_or(default_url);
        let help = "write it like http://127.0.0.1:8000/v1";
        // A credential may stand before an `@` or in a query; no message repeats it.
        let shown = if base_url.contains(['@', '?']) { "…" } else { base_url };
        let mut base =
            Url::parse(base_url).map_err(|error| BuildError::new(format!("base_url `{shown}`: {error}"), help))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(BuildError::new(format!("base_url `{shown}` is not an http address"), help));
        }
        if !base.username().is_empty() || base.password().is_some() {
            let help = "put the key into an environment variable and name it: `api_key_env: MY_KEY`";
            return Err(BuildError::new("base_url carries a credential", help));
        }
        if let Some(root) = base_url.trim_end_matches('/').strip_suffix(*path) {
            return Err(BuildError::new(
                format!("base_url `{base_url}` ends in `{path}`, which is added to it"),
                format!("base_url: {root}"),
            ));
        }
        if address.has_bare_root && base.path() == "/" {
            base.set_path("/v1");
        }
        let host = base.host_str().unwrap_or_default().to_owned();
        let is_loopback = is_loopback(&host);
        let mut normalised = base.clone();
        normalised.set_fragment(None);
        normalised.set_path(base.path().trim_end_matches('/'));
        let mut url = normalised.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        let key_env = match &settings.api_key_env {
            Some(name) => Some((name.clone(), true)),
            None if host == default_key.1 || is_loopback => Some((default_key.0.to_owned(), host == default_key.1)),
            None => None,
        };
        key_env.iter().for_each(|(name, _)| process::hide(name));
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in address.fixed {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        for (name, value) in &settings.headers {
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) else {
                return Err(BuildError::new(
                    format!("the value of the header `{name}` cannot be sent"),
                    "X-Team: research",
                ));
            };
            headers.insert(name, value);
        }
        Ok(Endpoint {
            base_url: normalised.to_string().trim_end_matches('/').to_owned(),
            url,
            key_env,
            key_header: address.key_header,
            headers,
            connect_timeout: seconds(settings.connect_timeout, 5.0),
            timeout: seconds(settings.timeout, 300.0),
            is_loopback,
            line: OnceLock::new(),
        })
    }

    /// Checks, without a call, that calls can succeed.
    ///
    /// # Errors
    ///
    /// No call can succeed: a key is missing, or nobody listens at the address.
    pub async fn preflight(&self) -> Result<(), CallError> {
        self.line()?;
        let Some((host, port)) = self.url.host_str().zip(self.url.port_or_known_default()) else {
            return Ok(());
        };
        // Behind a proxy only the proxy can tell whether the host is reached.
        let is_proxied = ["http_proxy", "https_proxy", "all_proxy"]
            .iter()
            .any(|name| std::env::var_os(name).or_else(|| std::env::var_os(name.to_uppercase())).is_some());
        if is_proxied && !self.is_loopback {
            return Ok(());
        }
        let host = host.trim_matches(['[', ']']);
        let connect = tokio::net::TcpStream::connect((host, port));
        let cause = match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {} s", self.connect_timeout.as_secs_f64()),
        };
        Err(CallError::new(ErrorKind::Connect, format!("{} cannot be reached: {cause}", self.base_url)))
    }

    /// Returns the API key, if the endpoint has one.
    ///
    /// # Errors
    ///
    /// The key is needed, and its variable is not set.
    pub fn key(&self) -> Result<Option<String>, CallError> {
        let Some((name, is_needed)) = &self.key_env else {
            return Ok(None);
        };
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(Some(key.trim().to_owned())),
            _ if !is_needed => Ok(None),
            _ => Err(CallError::new(
                ErrorKind::Fatal,
                format!("{} needs an API key and {name} is not set: export {name}=…", self.base_url),
            )),
        }
    }

    /// Returns the variable of the key, and the host that gets it; none where no key is set.
    pub fn key_host(&self) -> Option<KeyHost> {
        self.key().ok().flatten()?;
        let (variable, _) = self.key_env.clone()?;
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(KeyHost { variable, host: format!("{}{port}", self.url.host_str()?) })
    }

    /// Removes the API key from a message, in case that the server repeated it.
    pub fn without_key(&self, message: String) -> String {
        match self.line.get().and_then(|line| line.veil.as_ref()) {
            Some(veil) => veil.over(message),
            None => message,
        }
    }

    fn line(&self) -> Result<&Line, CallError> {
        if let Some(line) = self.line.get() {
            return Ok(line);
        }
        let key = self.key()?;
        let mut headers = self.headers.clone();
        if let Some((name, value)) = key.as_deref().map(self.key_header) {
            let value = HeaderValue::from_str(&value)
                .map_err(|_| CallError::new(ErrorKind::Fatal, "the API key has characters that cannot be sent"))?;
            headers.insert(name, value);
        }
        let client = client(Connection {
            timeout: self.connect_timeout,
            is_loopback: self.is_loopback,
            is_tls: self.url.scheme() == "https",
            follows: false,
        })
        .map_err(|error| CallError::new(ErrorKind::Fatal, format!("failed to set up HTTP: {error}")))?;
        Ok(self.line.get_or_init(|| Line { client, headers, veil: key.as_deref().map(Veil::new) }))
    }

    /// Posts a JSON body; returns the body of an answer with status 200.
    ///
    /// # Errors
    ///
    /// There is no answer with status 200; the kind says whether another attempt may help.
    pub async fn post(&self, body: &Bytes) -> Result<Posted, CallError> {
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.body_mut() = Some(body.clone().into());
        self.send(request).await
    }

    /// Gets the document at a path of the server, outside of its `/v1`.
    ///
    /// # Errors
    ///
    /// There is no answer with status 200.
    pub async fn get(&self, path: &str) -> Result<String, CallError> {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_path(&format!("{}{path}", self.root_path()));
        self.send(reqwest::Request::new(Method::GET, url)).await.map(|posted| posted.text)
    }

    /// Sends a request to a path below the base URL; returns the body of an answer with status 200.
    ///
    /// # Errors
    ///
    /// There is no answer with status 200.
    pub async fn exchange(&self, method: Method, path: &str, content: Option<Content>) -> Result<String, CallError> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = Url::parse(&self.base_url).expect("it was parsed before");
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if query.is_some() {
            url.set_query(query);
        }
        let mut request = reqwest::Request::new(method, url);
        let kind = content.as_ref().map(|content| content.kind.clone());
        if let Some(content) = content {
            *request.body_mut() = Some(content.bytes.into());
        }
        self.send_as(request, kind, MAX_FILE).await.map(|posted| posted.text)
    }

    /// Returns the path of the base URL without its version (`/v1`).
    fn root_path(&self) -> String {
        let path =
            Url::parse(&self.base_url).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        path.strip_suffix("/v1").unwrap_or(&path).to_owned()
    }

    async fn send(&self, request: reqwest::Request) -> Result<Posted, CallError> {
        self.send_as(request, None, MAX_ANSWER).await
    }

    /// Sends a request whose content is of another type than JSON, if one is given. Its answer has `most` bytes at most.
    async fn send_as(
        &self,
        mut request: reqwest::Request,
        kind: Option<String>,
        most: usize,
    ) -> Result<Posted, CallError> {
        let Line { client, headers, veil } = self.line()?;
        request.headers_mut().clone_from(headers);
        if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
            request.headers_mut().insert(CONTENT_TYPE, kind);
        }
        // One timer covers the whole answer; reqwest's own timeout would use two.
        tokio::time::timeout(self.timeout, self.answer(client, request, veil.as_ref(), most)).await.unwrap_or_else(
            |_| {
                let message = format!("{} did not answer within {} s", self.base_url, self.timeout.as_secs_f64());
                Err(CallError::new(ErrorKind::Transient, message))
            },
        )
    }

    /// Sends a request and reads the whole answer.
    async fn answer(
        &self,
        client: &Client,
        request: reqwest::Request,
        veil: Option<&Veil>,
        most: usize,
    ) -> Result<Posted, CallError> {
        let mut response = client.execute(request).await.map_err(|error| self.transport(&error))?;
        let status = response.status();
        let (retry_after, pause) = (quota::retry_after(response.headers()), quota::pause(response.headers()));
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        // It is read piece by piece, so that neither an endless answer nor one that unpacks to gigabytes fills the memory.
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.transport(&error))? {
            if bytes.len() + piece.len() > most {
                let message = format!("{} answered more than {} MB", self.base_url, most >> 20);
                return Err(CallError::new(ErrorKind::Permanent, message));
            }
            bytes.extend_from_slice(&piece);
        }
        if status == StatusCode::OK {
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                let message = format!("{} answered text that is not UTF-8, at byte {at}", self.base_url);
                CallError::new(ErrorKind::Permanent, message)
            })?;
            // What was answered is kept as it was answered; only an echo of a real key is not.
            let text = match veil {
                Some(veil) => veil.over_answer(text),
                None => text,
            };
            return Ok(Posted { text, pause });
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
        let is_out_of_money = quota::is_out_of_money(parsed.get("error").unwrap_or(&parsed));
        let kind = match status.as_u16() {
            401 | 402 => ErrorKind::Fatal,
            400..=499 if is_out_of_money => ErrorKind::Fatal,
            429 => ErrorKind::RateLimited,
            408 | 409 | 500..=599 => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        };
        let mut message = format!("{} answered {status}: {}", self.base_url, self.without_key(said(&text)));
        if status.is_redirection() {
            message = format!(
                "{} redirects to {}; redirects are not followed, put the final address into base_url",
                self.base_url,
                location.map_or_else(|| "another address".to_owned(), |location| self.without_key(location))
            );
        }
        // Where a server refuses without a word, its quota may say how long.
        let retry_after = retry_after.or(pause.filter(|_| kind == ErrorKind::RateLimited));
        let is_unknown = status == StatusCode::NOT_FOUND;
        Err(CallError { retry_after, is_unknown, ..CallError::new(kind, message) })
    }

    fn transport(&self, error: &reqwest::Error) -> CallError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let (kind, what) = if error.is_connect() {
            (ErrorKind::Connect, format!("cannot be reached: {cause}"))
        } else {
            (ErrorKind::Transient, format!("broke the connection: {cause}"))
        };
        CallError::new(kind, format!("{} {what}", self.base_url))
    }
}

/// Returns the message in an error body, shortened.
fn said(text: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let message = parsed
        .as_ref()
        .and_then(|value| {
            let error = value.get("error").unwrap_or(value);
            error.get("message").or(value.get("message")).or(value.get("detail")).unwrap_or(error).as_str()
        })
        .unwrap_or(text)
        .trim();
    let mut short: String = message.chars().take(300).collect();
    if short.len() < message.len() {
        short.push('…');
    }
    if short.is_empty() { "(empty answer)".to_owned() } else { short.replace(['\n', '\r'], " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Result<Endpoint, BuildError> {
        let address = Address {
            default_url: "",
            path: "/chat/completions",
            default_key: ("OPENAI_API_KEY", "api.openai.com"),
            key_header: |key| ("authorization", format!("Bearer {key}")),
            fixed: &[],
            has_bare_root: false,
        };
        Endpoint::new(&address, &Settings { base_url: Some(base_url.to_owned()), ..Settings::default() })
    }

    #[test]
    fn addresses_are_normalised_and_keep_their_query() {
        let a = endpoint("HTTP://LocalHost:8000/v1/?api-version=2").unwrap();
        assert_eq!(a.base_url, "http://localhost:8000/v1?api-version=2");
        assert_eq!(a.url.as_str(), "http://localhost:8000/v1/chat/completions?api-version=2");
        assert_eq!(endpoint("http://a/v1").unwrap().base_url, endpoint("http://a/v1/").unwrap().base_url);
        assert!(endpoint("http://user:secret@a/v1").is_err_and(|error| error.message.contains("credential")));
        assert!(endpoint("ftp://a").is_err() && endpoint("127.0.0.1:80").is_err());
    }

    #[test]
    fn the_default_key_goes_home_and_to_loopback_only() {
        assert!(endpoint("https://api.openai.com/v1").unwrap().key_env.is_some());
        assert!(endpoint("http://127.0.0.1:1/v1").unwrap().key_env.is_some());
        assert!(endpoint("https://evil.example/v1").unwrap().key_env.is_none());
        assert!(endpoint("http://127.0.0.1.evil.example/v1").unwrap().key_env.is_none());
        assert!(endpoint("http://[::1]:1/v1").unwrap().key_env.is_some());
    }

    #[test]
    fn errors_say_what_the_server_said() {
        assert_eq!(said(r#"{"error": {"message": "no such model"}}"#), "no such model");
        assert_eq!(said(r#"{"detail": "bad"}"#), "bad");
        assert_eq!(said(""), "(empty answer)");
    }
}
