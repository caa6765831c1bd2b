//! How a connection to a collector is opened: the seam between the protocol and the network.
//!
//! The agent dials over TCP. A simulation puts a network of its own here, so that everything above it runs unchanged in virtual time.

use std::pin::Pin;
use std::sync::Arc;

use tonic::transport::{Channel, Endpoint, Error};

/// A connection that is being opened.
pub type Dialing = Pin<Box<dyn Future<Output = Result<Channel, Error>> + Send>>;

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn(Endpoint) -> Dialing + Send + Sync>);

impl Dial {
    /// Opens connections by `dial`, which keeps to the settings of the endpoint that it is given.
    pub fn new(dial: impl Fn(Endpoint) -> Dialing + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }

    /// Opens connections over TCP.
    pub fn tcp() -> Self {
        Self::new(|endpoint| Box::pin(async move { endpoint.connect().await }))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the collector cannot be reached.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        (self.0)(endpoint.clone()).await
    }
}
