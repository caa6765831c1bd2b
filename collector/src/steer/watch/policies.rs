//! What is wanted of each node, as the driver of rollouts says it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use flyball_proto::series::{Invalid, NodeName};
use flyball_proto::steering::{AgentPolicy, PolicyOutcome};
use parking_lot::RwLock;
use tokio::sync::watch;

/// Says what is wanted of nodes. Asked by each stream after each change, so answers come from memory.
pub trait Policies: Debug + Send + Sync + 'static {
    /// The whole state that is wanted of a node; of revision 0 and empty when nothing is. `renew` and `acked_sequence` are filled in by the caller.
    fn wanted(&self, node: &NodeName) -> Arc<AgentPolicy>;

    /// Nodes of which something is wanted.
    fn nodes(&self) -> Vec<NodeName>;

    /// Changes when anything that [`Self::wanted`] says may have changed.
    fn changes(&self) -> watch::Receiver<u64>;

    /// False while it cannot be known whether this is the newest state, for example because the journal cannot be read. Then nothing is sent, so
    /// that canaries end rather than live on by a collector that has lost the thread.
    fn is_current(&self) -> bool {
        true
    }

    /// An agent has told an outcome; also after each reconnect those that still stand, so the same may be told again.
    fn outcome(&self, node: &NodeName, outcome: &PolicyOutcome) {
        let _ = (node, outcome);
    }
}

/// Policies that somebody sets. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct PolicyTable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wanted: RwLock<BTreeMap<NodeName, Arc<AgentPolicy>>>,
    none: Arc<AgentPolicy>,
    changes: watch::Sender<u64>,
    is_current: watch::Sender<bool>,
}

impl Default for PolicyTable {
    fn default() -> Self {
        Self(Arc::new(Inner {
            wanted: RwLock::default(),
            none: Arc::default(),
            changes: watch::Sender::new(0),
            is_current: watch::Sender::new(true),
        }))
    }
}

impl PolicyTable {
    /// Sets what is wanted of a node. Nothing when that is what it was.
    ///
    /// # Errors
    /// When it breaks a rule of the protocol; names the field.
    pub fn set(&self, node: &NodeName, policy: AgentPolicy) -> Result<(), Invalid> {
        policy.check()?;
        let mut wanted = self.0.wanted.write();
        if wanted.get(node).is_some_and(|known| **known == policy) {
            return Ok(());
        }
        wanted.insert(node.clone(), Arc::new(policy));
        drop(wanted);
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// From now on nothing is wanted of a node. What is in force there stays, canaries end.
    pub fn remove(&self, node: &NodeName) {
        if self.0.wanted.write().remove(node).is_some() {
            self.0.changes.send_modify(|count| *count += 1);
        }
    }

    /// Says whether this is known to be the newest state.
    pub fn set_current(&self, is_current: bool) {
        let has_changed = self.0.is_current.send_if_modified(|known| {
            let has_changed = *known != is_current;
            *known = is_current;
            has_changed
        });
        if has_changed {
            self.0.changes.send_modify(|count| *count += 1);
        }
    }
}

impl Policies for PolicyTable {
    fn wanted(&self, node: &NodeName) -> Arc<AgentPolicy> {
        self.0.wanted.read().get(node).map_or_else(|| Arc::clone(&self.0.none), Arc::clone)
    }

    fn nodes(&self) -> Vec<NodeName> {
        self.0.wanted.read().keys().cloned().collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn is_current(&self) -> bool {
        *self.0.is_current.borrow()
    }
}
