//! The collector's HTTP API as a program sees it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A client of one collector.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    /// A client of the collector at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { base: format!("http://{address}"), client: reqwest::Client::new() }
    }

    /// `http://host:port`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Status code and body of a GET.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The JSON of a GET that must answer 200.
    ///
    /// # Errors
    /// When it does not, or the body is not JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let (status, body) = self.get(path).await?;
        if status != 200 {
            bail!("GET {path}: {status} {body}");
        }
        serde_json::from_str(&body).with_context(|| format!("GET {path}: {body}"))
    }

    /// Status code and JSON of a POST; null for an answer without a body.
    ///
    /// # Errors
    /// When no answer comes, or its body is not JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let answer = self.client.post(format!("{}{path}", self.base)).json(body).send().await?;
        let status = answer.status().as_u16();
        let body = answer.text().await?;
        if body.is_empty() {
            return Ok((status, Value::Null));
        }
        let json = serde_json::from_str(&body).with_context(|| format!("POST {path}: {body}"))?;
        Ok((status, json))
    }

    /// The JSON of a POST that must succeed.
    ///
    /// # Errors
    /// When it does not, or the body is not JSON.
    pub async fn posted(&self, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.post(path, body).await?;
        if !(200..300).contains(&status) {
            bail!("POST {path}: {status} {answer}");
        }
        Ok(answer)
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn events(&self, query: &str) -> Result<Events> {
        let url = format!("{}/api/performance/events{query}", self.base);
        let response = self.client.get(url).send().await?.error_for_status()?;
        Ok(Events { response, buffer: String::new() })
    }
}

/// An open stream of server-sent events.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    buffer: String,
}

impl Events {
    /// The next event's JSON.
    ///
    /// # Errors
    /// When the stream ends.
    pub async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let event: String = self.buffer.drain(..end + 2).collect();
                let data: String =
                    event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if !data.is_empty() {
                    return Ok(serde_json::from_str(data.trim())?);
                }
                continue;
            }
            let chunk = self.response.chunk().await?.context("the event stream ended")?;
            self.buffer.push_str(std::str::from_utf8(&chunk)?);
        }
    }
}
