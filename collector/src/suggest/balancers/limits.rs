//! To come.

use flyball_model::rollout::State;

use super::view::PoolView;
use super::{Advisor, PoolDraft};
use crate::suggest::Context;

const KIND: &str = "balancer.limits";

/// See the module.
#[derive(Debug)]
pub struct Limits;

impl Advisor for Limits {
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
