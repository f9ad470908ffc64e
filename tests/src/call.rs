//! One well-formed request to the gateway, and what came back.

use std::{net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Longer than any deadline of the gate; what hangs longer hangs for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request in the making; [`Call::send`] sends it on a connection of its own.
#[derive(Clone)]
pub struct Call {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Call {
    /// `tools/call` of the tool `echo`, id 1, without a token.
    pub fn new(address: SocketAddr, host: &str, path: &str) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("host", host), ("content-type", "application/json"), ("accept", "application/json, text/event-stream")]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a good value"));
        }
        Self { address, method: Method::POST, path: path.to_owned(), headers, body: Vec::new() }.tool("echo")
    }

    /// The caller's token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Adds a header; those that are there stay.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a good name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_ref()).expect("a good value"));
        self
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Another request method, without a body.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Method::from_bytes(method.as_bytes()).expect("a good method");
        self.body.clear();
        self.without("content-type")
    }

    /// Another path, query included.
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Another gateway's address; `Host` stays.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// `tools/call` of this tool.
    pub fn tool(self, name: &str) -> Self {
        self.rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}))
    }

    /// The legacy handshake.
    pub fn initialize(self) -> Self {
        self.rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}}))
    }

    /// This JSON.
    pub fn rpc(self, message: &Value) -> Self {
        self.body(message.to_string())
    }

    /// This body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// When there is no answer within 30 seconds.
    pub async fn send(&self) -> Reply {
        self.try_send().await.unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    /// Sends it; an error if the connection broke.
    pub async fn try_send(&self) -> anyhow::Result<Reply> {
        let answer = async {
            let (parts, body) = self.open().await?.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            anyhow::Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, answer).await?
    }

    /// Sends it and returns when the headers of the answer are there; the body streams.
    pub async fn open(&self) -> anyhow::Result<hyper::Response<Incoming>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        crate::spawn(connection);
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
        }
        Ok(sender.send_request(request.body(Full::new(Bytes::from(self.body.clone())))?).await?)
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

/// The error member of a JSON-RPC answer.
#[derive(Debug)]
pub struct RpcError {
    /// The request's id, or null.
    pub id: Value,
    /// Error code.
    pub code: i64,
    /// For people.
    pub message: String,
    /// More, if there is more.
    pub data: Value,
}

impl Reply {
    /// A header's only value.
    ///
    /// # Panics
    /// When there are several.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        assert!(values.next().is_none(), "one {name} in {self:?}");
        value
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The JSON-RPC result.
    ///
    /// # Panics
    /// When it is an error, or the status is not 200.
    pub fn result(&self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        let body = self.json();
        assert!(body.get("result").is_some(), "{self}");
        body["result"].clone()
    }

    /// Who the upstream was called as.
    pub fn called_as(&self) -> Vec<String> {
        serde_json::from_value(self.result()["called_as"].clone()).expect("the upstream echoes it")
    }

    /// The JSON-RPC error.
    ///
    /// # Panics
    /// When there is none.
    pub fn rpc_error(&self) -> RpcError {
        let body = self.json();
        let code = body["error"]["code"].as_i64().unwrap_or_else(|| panic!("an error: {self}"));
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        RpcError { id: body["id"].clone(), code, message, data: body["error"]["data"].clone() }
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}
