//! The OpenAPI document, from the same routes as the router: what the handlers say of themselves, and what holds for
//! all of them.

use crate::{app::App, rest::ProblemBody};
use axum::{Router, http::header, routing::get};
use flashsale_protocol::{Code, DeviceId};
use std::sync::Arc;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
        Required, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

/// `GET /openapi.json`
pub fn document(routers: [&OpenApiRouter<Arc<App>>; 3]) -> Router<Arc<App>> {
    // Comments link to other items in brackets; the document has none to link to.
    let json = describe(routers).to_json().unwrap_or_default();
    let json = json.replace("[`", "`").replace("`]", "`");
    Router::new().route(
        "/openapi.json",
        get(async move || ([(header::CONTENT_TYPE, "application/json")], json)),
    )
}

fn describe(routers: [&OpenApiRouter<Arc<App>>; 3]) -> OpenApi {
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
                .response(
                    "Problem",
                    ResponseBuilder::new()
                        .description("A refusal, or our failure.")
                        .content(
                            "application/problem+json",
                            ContentBuilder::new()
                                .schema(Some(Ref::from_schema_name(ProblemBody::name())))
                                .build(),
                        ),
                )
                .security_scheme(
                    "token",
                    SecurityScheme::Http(
                        HttpBuilder::new()
                            .scheme(HttpAuthScheme::Bearer)
                            .bearer_format("JWT")
                            .build(),
                    ),
                )
                .build(),
        ))
        .build();
    for router in routers {
        document.merge(router.get_openapi().clone());
    }
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.delete]
            .into_iter()
            .flatten()
        {
            complete(operation);
        }
    }
    document
}

const INTRODUCTION: &str = "The second door to a sale: the same commands as on the WebSocket (docs/asyncapi.yaml), for \
    those who ask once. Amounts are in minor units of their currency. Refusals are problem+json; the same `code` words \
    come over the socket. Repeat what got no answer, or one with `retry`, under the same Idempotency-Key.";

/// What every operation may answer, and what every one with a token reads.
fn complete(operation: &mut Operation) {
    operation.responses.responses.insert(
        "default".into(),
        RefOr::Ref(Ref::new("#/components/responses/Problem")),
    );
    if operation.security.is_some() {
        let device = ParameterBuilder::new()
            .name("X-Device-Id")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The shopper's device, which everything that takes stock needs; not for guests: their token knows it.",
            ))
            .schema(Some(DeviceId::schema()));
        operation
            .parameters
            .get_or_insert_default()
            .push(RefOr::T(device.build()));
    }
}
