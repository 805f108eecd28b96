//! The OpenAPI document, from the router's routes: the handlers' own descriptions, and the parts common to all.

use super::refusals;
use crate::{app::App, rest::ProblemBody};
use axum::{Router, http::header, routing::get};
use flashsale_protocol::{Code, DeviceId};
use std::sync::Arc;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, Header, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref,
        RefOr, Required, Response, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

/// `GET /openapi.json`
pub fn document(routers: [&OpenApiRouter<Arc<App>>; 4]) -> Router<Arc<App>> {
    // Comments link to other items in brackets, but the document has no such links.
    let json = describe(routers).to_json().unwrap_or_default();
    let json = json.replace("[`", "`").replace("`]", "`");
    Router::new().route(
        "/openapi.json",
        get(async move || ([(header::CONTENT_TYPE, "application/json")], json)),
    )
}

fn describe(routers: [&OpenApiRouter<Arc<App>>; 4]) -> OpenApi {
    let mut document = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("flashsale")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(INTRODUCTION))
                .license(Some(
                    LicenseBuilder::new()
                        .name("MIT OR Apache-2.0")
                        .identifier(Some("MIT OR Apache-2.0"))
                        .build(),
                )),
        )
        .components(Some(
            ComponentsBuilder::new()
                .schema(ProblemBody::name(), ProblemBody::schema())
                .schema(Code::name(), Code::schema())
                .security_scheme(
                    "token",
                    SecurityScheme::Http(
                        HttpBuilder::new()
                            .scheme(HttpAuthScheme::Bearer)
                            .bearer_format("JWT")
                            .build(),
                    ),
                )
                .security_scheme(
                    "session",
                    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                        "__Host-flashsale_operator",
                        "An operator's session. What changes something also needs the header `Flash-Sale-Operator: 1`.",
                    ))),
                )
                .build(),
        ))
        .build();
    for router in routers {
        document.merge(router.get_openapi().clone());
    }
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete]
            .into_iter()
            .flatten()
        {
            complete(operation);
        }
    }
    document
}

const INTRODUCTION: &str = "The second door to a sale: the same commands as on the WebSocket (docs/asyncapi.yaml), for \
    single requests. Amounts are in minor units of their currency. Refusals are problem+json, with the same `code` words \
    as on the socket; each operation's responses list them, in words and in `x-codes`. Repeat a request without an \
    answer, or refused with `retry`, under the same Idempotency-Key. Each answer tells in `RateLimit` what the address, and \
    whoever has signed in, may still ask for, and in `RateLimit-Policy` how much that is at once (`q`) and in how many \
    seconds it is whole again (`w`); many requests cost 1, some more.";

fn problem(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(ProblemBody::name())))
                .build(),
        )
        .build()
}

/// Adds the version of a sale's settings to every answer that has it.
fn tell_versions(operation: &mut Operation) {
    let mut tag = Header::default();
    tag.description = Some("The version of what is set, in quotes: for `If-Match`.".into());
    let conditional = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "If-Match"));
    if conditional {
        let text = "`version_changed`: operators have changed what is set since. Nothing was changed.";
        let refused = operation.responses.responses.entry("412".into());
        refused.or_insert_with(|| RefOr::T(problem(text)));
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let versioned = response.content.values().any(|content| {
            let RefOr::T(content) = content else { return false };
            matches!(&content.schema, Some(RefOr::Ref(to)) if to.ref_location.contains("Versioned"))
        });
        if versioned || status == "412" {
            response.headers.insert("ETag".into(), RefOr::T(tag.clone()));
        }
    }
}

/// Adds the answers common to all operations, and the headers common to all with a token.
fn complete(operation: &mut Operation) {
    refusals::describe(operation, &ProblemBody::name());
    tell_versions(operation);
    let session = SecurityRequirement::new("session", [""; 0]);
    let is_admins = operation.tags.iter().flatten().any(|tag| tag == "admin");
    if let Some(ways) = operation.security.as_mut().filter(|_| is_admins) {
        ways.push(session.clone());
    }
    let takes_token = |ways: &Vec<SecurityRequirement>| ways.iter().any(|way| *way != session);
    if operation.security.as_ref().is_some_and(takes_token) {
        let device = ParameterBuilder::new()
            .name("X-Device-Id")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The shopper's device; needed by every request that takes stock. Guests leave it out: their token names it.",
            ))
            .schema(Some(DeviceId::schema()));
        operation
            .parameters
            .get_or_insert_default()
            .push(RefOr::T(device.build()));
    }
}
