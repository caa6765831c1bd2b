//! The description of the HTTP interface, made from the calls themselves: openapi.json, and a page to read it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::params::Params;
use super::performance::{
    alerts, audit, balancers, cache, catalog, control, events, last, metrics, policies, pools,
    propose, queries, rollouts, status, suggestions,
};
use super::problem::{MEDIA_TYPE, Problem};
use super::{ApiError, AppState, assets, health};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Flyball",
        description = "Performance of a fleet of hosts: what is measured, last and over time.\n\n\
            Times are RFC 3339 or epoch milliseconds on input and epoch milliseconds on output. Every answer that is not a success is an RFC 9457 problem document; \
            `errors` lists every field that is wrong. Unknown parameters and fields are refused. `X-Request-Id` is honoured or made, returned, and logged.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "performance", description = "What is measured"),
        (name = "steering", description = "Suggestions, and what becomes of them"),
        (name = "operation", description = "The collector itself"),
    ),
    components(schemas(Problem)),
)]
struct Document;

/// Every call, with its description.
pub(super) fn calls() -> OpenApiRouter<AppState> {
    let mut router = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi_json))
        .routes(routes!(docs_page))
        .routes(routes!(status::status))
        .routes(routes!(metrics::get_metrics, metrics::post_metrics))
        .routes(routes!(metrics::batch))
        .routes(routes!(last::last))
        .routes(routes!(catalog::catalog))
        .routes(routes!(cache::cache))
        .routes(routes!(cache::clear))
        .routes(routes!(balancers::balancers))
        .routes(routes!(pools::pools))
        .routes(routes!(pools::pool))
        .routes(routes!(queries::queries))
        .routes(routes!(alerts::alerts))
        .routes(routes!(policies::policies))
        .routes(routes!(suggestions::optimize))
        .routes(routes!(suggestions::suggestions, propose::propose))
        .routes(routes!(suggestions::suggestion))
        .routes(routes!(suggestions::confirm))
        .routes(routes!(suggestions::reject))
        .routes(routes!(rollouts::rollouts))
        .routes(routes!(rollouts::rollout))
        .routes(routes!(rollouts::rollback))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::unlock))
        .routes(routes!(control::control))
        .routes(routes!(control::freeze))
        .routes(routes!(control::unfreeze))
        .routes(routes!(control::kill))
        .routes(routes!(audit::audit))
        .routes(routes!(events::events));
    let document = router.get_openapi_mut();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
        operations.into_iter().flatten().for_each(add_problem);
    }
    router
}

/// The whole document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    calls().split_for_parts().1
}

/// Any other answer of any call is a problem document.
fn add_problem(operation: &mut Operation) {
    let schema = Ref::from_schema_name("Problem");
    let id = HeaderBuilder::new().description(Some("id of the request")).build();
    let problem = ResponseBuilder::new()
        .description("what went wrong, as an RFC 9457 problem document")
        .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(schema)).build())
        .header("X-Request-Id", id)
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(problem));
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses((status = 200, body = Object)))]
async fn openapi_json(
    State(state): State<AppState>,
    params: Params,
) -> Result<impl IntoResponse, ApiError> {
    params.none()?;
    Ok(([(CONTENT_TYPE, "application/json")], state.0.openapi.clone()))
}

/// A page to read this description.
#[utoipa::path(get, path = "/docs", tag = "operation", responses((status = 200, body = String, content_type = "text/html")))]
async fn docs_page(headers: HeaderMap) -> Result<Response, ApiError> {
    assets::docs(&headers)
}
