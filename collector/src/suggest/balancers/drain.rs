//! To come.

use flyball_model::rollout::State;

use super::view::PoolView;
use super::{Advisor, PoolDraft};
use crate::suggest::Context;

const KIND: &str = "balancer.drain";

/// See the module.
#[derive(Debug)]
pub struct Drain;

impl Advisor for Drain {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn advise(
        &self,
        view: &PoolView,
        context: &Context<'_>,
        _: &State,
    ) -> Result<Vec<PoolDraft>, String> {
        view.usable(context.now_ms)?;
        Ok(Vec::new())
    }
}
