//! The two variants of the protocol as messages: what a request says to a session, and a response
//! as a message.

use envoy_types::pb::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use envoy_types::pb::envoy::service::discovery::v3 as ads;
use envoy_types::pb::google::rpc::Status;

use crate::clients::{MAX_TEXT_BYTES, Protocol, cut};
use crate::resource::Kind;
use crate::session::{DeltaRequest, Outcome, OverLimit, Response, Session};

/// A variant of the protocol.
pub(crate) trait Variant {
    const PROTOCOL: Protocol;
    type Request: Send + 'static;
    type Response: Send + 'static;

    fn type_url(request: &Self::Request) -> &str;
    fn node(request: &Self::Request) -> Option<&Node>;
    fn error(request: &Self::Request) -> Option<&Status>;
    fn apply(
        session: &mut Session,
        kind: Kind,
        request: &Self::Request,
    ) -> Result<Outcome, OverLimit>;
    fn response(response: Response) -> Self::Response;
}

/// State of the world.
#[derive(Debug)]
pub(crate) struct State;

impl Variant for State {
    const PROTOCOL: Protocol = Protocol::StateOfTheWorld;
    type Request = ads::DiscoveryRequest;
    type Response = ads::DiscoveryResponse;

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn error(request: &Self::Request) -> Option<&Status> {
        request.error_detail.as_ref()
    }

    fn apply(
        session: &mut Session,
        kind: Kind,
        request: &Self::Request,
    ) -> Result<Outcome, OverLimit> {
        let rejected = request.error_detail.is_some();
        session.request_state(kind, &request.resource_names, &request.response_nonce, rejected)
    }

    fn response(response: Response) -> Self::Response {
        ads::DiscoveryResponse {
            version_info: response.version,
            resources: response.resources.iter().map(|resource| resource.body.clone()).collect(),
            type_url: response.kind.type_url(),
            nonce: response.nonce,
            ..Default::default()
        }
    }
}

/// Delta.
#[derive(Debug)]
pub(crate) struct Delta;

impl Variant for Delta {
    const PROTOCOL: Protocol = Protocol::Delta;
    type Request = ads::DeltaDiscoveryRequest;
    type Response = ads::DeltaDiscoveryResponse;

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn error(request: &Self::Request) -> Option<&Status> {
        request.error_detail.as_ref()
    }

    fn apply(
        session: &mut Session,
        kind: Kind,
        request: &Self::Request,
    ) -> Result<Outcome, OverLimit> {
        let request = DeltaRequest {
            subscribe: &request.resource_names_subscribe,
            unsubscribe: &request.resource_names_unsubscribe,
            initial: &request.initial_resource_versions,
            nonce: &request.response_nonce,
            rejected: request.error_detail.is_some(),
        };
        session.request_delta(kind, &request)
    }

    fn response(response: Response) -> Self::Response {
        let resources = response.resources.iter().map(|resource| ads::Resource {
            name: resource.name.to_string(),
            version: resource.version.clone(),
            resource: Some(resource.body.clone()),
            ..Default::default()
        });
        ads::DeltaDiscoveryResponse {
            system_version_info: response.version,
            resources: resources.collect(),
            type_url: response.kind.type_url(),
            removed_resources: response.removed.iter().map(ToString::to_string).collect(),
            nonce: response.nonce,
            ..Default::default()
        }
    }
}

/// Program and version of a node, such as `envoy 1.40.0`.
pub(crate) fn user_agent(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            build.version.as_ref().map_or_else(String::new, |version| {
                format!("{}.{}.{}", version.major_number, version.minor_number, version.patch)
            })
        }
        None => String::new(),
    };
    cut(format!("{} {version}", node.user_agent_name).trim(), MAX_TEXT_BYTES)
}
