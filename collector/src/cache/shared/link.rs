//! The connections to Redis: one for requests, one that hears what other collectors invalidate.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;
use futures_util::StreamExt as _;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, IntoConnectionInfo as _, TlsCertificates,
};
use tokio::time::{self, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::order::{Heard, SILENCE};
use super::{Connected, Envelope, STAMPS, Shared, scripts};
use crate::cache::RedisSettings;
use crate::cache::key::Tag;
use crate::cache::life::Life;

const CONNECT: Duration = Duration::from_secs(2);
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Time between two empty messages, so that silence means something.
const BEAT: Duration = Duration::from_secs(2);
/// Longest that one message may take to be sent.
const SEND: Duration = Duration::from_secs(1);
/// A client for the settings.
pub(super) fn client(settings: &RedisSettings) -> Result<Client, String> {
    let text = |error: redis::RedisError| format!("redis.url: {error}");
    let info = settings.url.as_str().into_connection_info().map_err(text)?;
    let read = |path: &PathBuf, key: &str| {
        fs::read(path)
            .map_err(|error| format!("redis.{key}: cannot read {}: {error}", path.display()))
    };
    let mut password = settings.password.expose().to_owned();
    if let Some(path) = &settings.password_file {
        let file = String::from_utf8(read(path, "password_file")?);
        let file = file.map_err(|_| "redis.password_file: not UTF-8".to_owned())?;
        file.lines().next().unwrap_or_default().clone_into(&mut password);
    }
    let info = if password.is_empty() {
        info
    } else {
        let redis = info.redis_settings().clone().set_password(password);
        info.set_redis_settings(redis)
    };
    let is_tls = matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. });
    if !is_tls {
        return Client::open(info).map_err(text);
    }
    // An error means that somebody has chosen one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = |path: &Option<PathBuf>, key| path.as_ref().map(|path| read(path, key)).transpose();
    let (cert, key) =
        (pem(&settings.cert_file, "cert_file")?, pem(&settings.key_file, "key_file")?);
    let client_tls =
        cert.zip(key).map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    let root_cert = pem(&settings.ca_file, "ca_file")?;
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(text)
}

/// What is heard of other collectors.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) enum News<'a> {
    /// They invalidated these tags.
    Invalidated(&'a [Tag]),
    /// Some messages were missed.
    Gap,
    /// Nothing was heard until now, or is from now on: what began before may be missing some.
    Silence,
    /// Another collector's message.
    Message(&'a [u8]),
}

impl Shared {
    /// Keeps the connections until `shutdown`, and tells what is heard.
    pub(in crate::cache) async fn run(self, tell: impl Fn(News<'_>), shutdown: CancellationToken) {
        tokio::select! {
            () = self.keep_connected() => {}
            () = self.keep_sending() => {}
            () = self.keep_hearing(&tell) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn keep_connected(&self) {
        let mut backoff = backoff();
        loop {
            match self.connect().await {
                Ok(connected) => {
                    tracing::info!(address = %self.address(), "connected to redis");
                    self.0.connection.put(connected);
                    backoff.reset();
                    self.0.connection.until_broken().await;
                    tracing::warn!(address = %self.address(), "the connection to redis broke");
                }
                Err(error) => tracing::debug!(%error, "cannot connect to redis"),
            }
            sleep(backoff.next_delay(rand::random())).await;
        }
    }

    fn address(&self) -> String {
        self.0.client.get_connection_info().addr().to_string()
    }

    async fn connect(&self) -> Result<Connected, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT));
        let connecting = async {
            let connection = self.0.client.get_multiplexed_async_connection_with_config(&config);
            let mut connection = connection.await?;
            let info: String =
                redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
            Ok::<_, redis::RedisError>((connection, info))
        };
        let (connection, info) = timeout(CONNECT, connecting)
            .await
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let run_id = run_id.ok_or("INFO server has no run_id")?.trim();
        let short = run_id.get(..16).unwrap_or(run_id);
        let names: Arc<str> = format!("{}:{short}:", self.0.prefix).into();
        Ok(Connected { connection, names })
    }

    /// Sends what is to be told, and now and then nothing.
    async fn keep_sending(&self) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.sending.notified() => {}
                _ = beats.tick() => {}
            }
            let tags = self.0.unsent.lock().take();
            // What did not arrive is sent again with the next beat.
            let arrived = self.send(&tags).await;
            self.0.unsent.lock().settle(arrived);
            self.send_message().await;
        }
    }

    async fn send(&self, tags: &[Tag]) -> bool {
        let Some((number, mut to)) = self.0.connection.get() else { return false };
        let names: Vec<_> = tags.iter().map(|tag| format!("{:x}", tag.raw())).collect();
        let message = format!("{:x} {}", self.0.origin, names.join(","));
        let mut command = redis::cmd("EVAL");
        command.arg(scripts::INVALIDATE).arg(tags.len() + 1).arg(to.count());
        for tag in tags {
            command.arg(to.stamp(*tag));
        }
        command.arg(STAMPS.as_millis() as u64).arg(self.channel()).arg(message);
        let sending = command.query_async::<u64>(&mut to.connection);
        let is_broken = match timeout(SEND, sending).await {
            Ok(Ok(_)) => {
                self.0.counters.sent.inc();
                return true;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "redis did not take an invalidation");
                super::is_broken(&error)
            }
            // Half open: no error would ever tell.
            Err(_) => true,
        };
        if is_broken {
            self.0.connection.broke(number);
        }
        false
    }

    async fn send_message(&self) {
        let Some(message) = self.0.message.lock().take() else { return };
        let Some((_, mut to)) = self.0.connection.get() else { return };
        let mut value = self.0.origin.to_le_bytes().to_vec();
        value.extend(message);
        let life = Life::new(Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let envelope = Envelope { began: 0, spent_ms: 0, cost_ms: 0.0, life, value };
        let channel = self.messages();
        let sealed = self.0.sealer.seal(&channel, &envelope);
        let mut command = redis::cmd("PUBLISH");
        command.arg(&channel).arg(sealed);
        // The next one comes in a moment, and is newer.
        let _ = timeout(SEND, command.query_async::<u64>(&mut to.connection)).await;
    }

    fn messages(&self) -> String {
        format!("{}:messages", self.0.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:invalidations", self.0.prefix)
    }

    async fn keep_hearing(&self, tell: &impl Fn(News<'_>)) {
        let mut backoff = backoff();
        loop {
            let reason = self.hear(tell, &mut backoff).await;
            tracing::debug!(reason, "invalidations of other collectors are not heard");
            let was_heard = self.0.order.lock().end();
            if was_heard {
                self.0.counters.gaps.inc();
                tell(News::Silence);
            }
            sleep(backoff.next_delay(rand::random())).await;
        }
    }

    /// Hears messages until the connection breaks or is silent; gives the reason.
    async fn hear(&self, tell: &impl Fn(News<'_>), backoff: &mut Backoff) -> String {
        let subscribing = async {
            let mut subscription = self.0.client.get_async_pubsub().await?;
            subscription.subscribe(self.channel()).await?;
            subscription.subscribe(self.messages()).await?;
            Ok::<_, redis::RedisError>(subscription)
        };
        let mut messages = match timeout(CONNECT, subscribing).await {
            Ok(Ok(subscription)) => subscription.into_on_message(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "no answer in time".to_owned(),
        };
        // The first message tells that messages are heard.
        self.0.sending.notify_one();
        let (mut is_first, mut until) = (true, time::Instant::now() + SILENCE);
        loop {
            let message = match timeout_at(until, messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return "the connection broke".to_owned(),
                Err(_) => return "silence".to_owned(),
            };
            if message.get_channel_name() == self.messages() {
                // It says nothing about the invalidations: Redis may take these messages only.
                self.take_message(message.get_payload_bytes(), tell);
                continue;
            }
            let text = message.get_payload::<String>().unwrap_or_default();
            let Some((number, origin, tags)) = parse(&text) else {
                tracing::warn!("a message in {} is none of ours", self.channel());
                continue;
            };
            backoff.reset();
            until = time::Instant::now() + SILENCE;
            let heard = self.0.order.lock().hear(number, Instant::now());
            if heard == Heard::Gap {
                self.0.counters.gaps.inc();
                tell(News::Gap);
            }
            if std::mem::take(&mut is_first) {
                // What is still being loaded began unheard, and will be kept as if it had not.
                tell(News::Silence);
            }
            if origin != self.0.origin && !tags.is_empty() {
                self.0.counters.heard.inc();
                tell(News::Invalidated(&tags));
            }
        }
    }
}

impl Shared {
    fn take_message(&self, bytes: &[u8], tell: &impl Fn(News<'_>)) {
        let Ok(envelope) = self.0.sealer.open(&self.messages(), bytes) else {
            self.0.counters.l2_refused.inc();
            return;
        };
        if let Some((origin, message)) = envelope.value.split_first_chunk()
            && u64::from_le_bytes(*origin) != self.0.origin
        {
            tell(News::Message(message));
        }
    }
}

/// Number, origin and tags of a message.
fn parse(text: &str) -> Option<(u64, u64, Vec<Tag>)> {
    let mut parts = text.splitn(3, ' ');
    let number = parts.next()?.parse().ok()?;
    let origin = u64::from_str_radix(parts.next()?, 16).ok()?;
    let tags = parts.next()?.split(',').filter(|tag| !tag.is_empty());
    let tag = |text| u64::from_str_radix(text, 16).ok().map(Tag::from_raw);
    Some((number, origin, tags.map(tag).collect::<Option<_>>()?))
}

fn backoff() -> Backoff {
    Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_or_is_none_of_ours() {
        let tags = vec![Tag::ALL, Tag::from_raw(0xff)];
        assert_eq!(parse("7 a 0,ff"), Some((7, 10, tags)));
        assert_eq!(parse("7 a "), Some((7, 10, Vec::new())));
        for text in ["", "7", "x a 1", "7 a 1,x", "7 a"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
