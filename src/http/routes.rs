//! Which calls there are. `openapi.json` describes each of them (OpenAPI 3.1); a test holds the two together.

use hyper::Method;

use crate::http::problem::Problem;

/// The description of the API.
pub const DESCRIPTION: &str = include_str!("openapi.json");

/// Every path, with what stands for a part of it in braces, and its methods.
pub const ROUTES: [(&str, &[&str]); 21] = [
    ("/healthz", &["GET"]),
    ("/readyz", &["GET"]),
    ("/metrics", &["GET"]),
    ("/api/openapi.json", &["GET"]),
    ("/api/v1/titles", &["GET"]),
    ("/api/v1/consents", &["GET"]),
    ("/api/v1/consents/{consent}", &["POST"]),
    ("/api/v1/events", &["GET"]),
    ("/api/v1/sessions", &["GET", "POST"]),
    ("/api/v1/sessions/{session}", &["GET"]),
    ("/api/v1/sessions/{session}/play", &["POST"]),
    ("/api/v1/sessions/{session}/pause", &["POST"]),
    ("/api/v1/sessions/{session}/seek", &["POST"]),
    ("/api/v1/sessions/{session}/end", &["POST"]),
    ("/api/v1/home-addresses", &["GET", "POST"]),
    ("/api/v1/home-addresses/{home}", &["GET", "DELETE"]),
    ("/api/v1/home-addresses/{home}/bindings/{binding}", &["PUT", "DELETE"]),
    ("/api/v1/home-addresses/{home}/context", &["POST"]),
    ("/api/v1/home-addresses/{home}/keys", &["DELETE"]),
    ("/api/v1/home-addresses/{home}/keys/{spi}", &["DELETE"]),
    ("/api/v1/home-addresses/{home}/sdp", &["GET"]),
];

/// Whether there is such a call; nothing else is answered.
///
/// # Errors
/// 404 for a path that is none, 405 for another method than those of the path.
pub(super) fn check(method: &Method, path: &[&str]) -> Result<(), Problem> {
    let matches = |template: &str| {
        let parts = template.split('/').skip(1);
        parts.clone().count() == path.len() && parts.zip(path).all(|(part, given)| part.starts_with('{') || part == *given)
    };
    let (_, methods) = ROUTES.iter().find(|(template, _)| matches(template)).ok_or_else(|| Problem::not_found("resource"))?;
    if methods.contains(&method.as_str()) { Ok(()) } else { Err(Problem::method(methods.join(", "))) }
}
