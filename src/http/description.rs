//! The API's description of itself (OpenAPI 3.1.0): the calls of `routes`, with the shapes that their types have.

use std::sync::LazyLock;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::http::login::COOKIES;
use crate::http::problem::Refusal;
use crate::http::routes::{Content, Gives, Parameter, ROUTES, Right, Route};
use crate::http::words::SessionId;

const WORDS: &str = "What plays where, and moving it. Bodies are JSON, 64 KB at most; errors are problems (RFC 9457) with a stable type. HEAD is \
                     answered where GET is; another method than those listed is 405 with `Allow`. Without credentials, who comes from this machine \
                     is an operator where neither a token nor a user with the role operator is configured. A device that asks for itself needs none \
                     to see and answer the questions whether it is to have a flow: it shows the key of the question in the answer. By cookie all but \
                     GET and HEAD also needs `X-CSRF-Token`.";

/// Refusals by their status, and what they mean.
const REFUSALS: [(u16, &str); 11] = [
    (400, "The request does not fit."),
    (401, "Credentials are needed, or wrong."),
    (403, "Another right is needed."),
    (404, "No such thing."),
    (408, "The body took too long."),
    (409, "Not as things stand."),
    (413, "The body is too large."),
    (415, "The body is not JSON."),
    (422, "It cannot be done with this."),
    (429, "Too many wrong keys came from there."),
    (503, "Not now."),
];
/// Those that any call may get, and those that any call may get that takes a right.
const OF_ANY: [u16; 2] = [408, 413];
const OF_RIGHT: [u16; 4] = [401, 403, 415, 429];

/// The description, as JSON. `without_tokens` says whether none is configured: who comes from this machine needs none then; `cookie` is what
/// a login's is named.
pub fn text(without_tokens: bool, cookie: &'static str) -> &'static str {
    static TEXTS: LazyLock<[[String; 2]; 2]> =
        LazyLock::new(|| COOKIES.map(|cookie| [false, true].map(|without| document(without, cookie).to_string())));
    &TEXTS[usize::from(cookie == COOKIES[1])][usize::from(without_tokens)]
}

fn document(without_tokens: bool, cookie: &str) -> Value {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings
    };
    // What is taken and what is given are told apart: a value that has a default may be left out of the one, and is always in the other.
    let mut taken = SchemaGenerator::new(settings().for_deserialize());
    let mut given = SchemaGenerator::new(settings().for_serialize());
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| {
            let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let parameters: Vec<Value> = parts.map(|name| of_path(name, &mut given)).collect();
            if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
        });
        item[route.method.to_ascii_lowercase()] = operation(route, without_tokens, &mut taken, &mut given);
    }
    let problem = given.subschema_for::<Refusal<'static>>();
    let mut responses = Map::new();
    for (status, words) in REFUSALS {
        let mut response = json!({ "description": words, "content": { "application/problem+json": { "schema": problem } } });
        match status {
            401 => response["headers"] = json!({ "WWW-Authenticate": { "schema": { "type": "string" } } }),
            429 => response["headers"] = json!({ "Retry-After": { "schema": { "type": "integer", "minimum": 0 } } }),
            _ => {}
        }
        responses.insert(status.to_string(), response);
    }
    let mut schemas = given.take_definitions(true);
    schemas.extend(taken.take_definitions(true));
    let bearer = |words: &str| json!({ "type": "http", "scheme": "bearer", "description": words });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "flowsteer",
            "version": "1",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": WORDS,
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "operator": bearer("A token of `http.tokens`."),
                "login": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie,
                    "description": "An operator's login: good for whatever an operator's token is. Over TLS it has another name than without.",
                },
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-CSRF-Token",
                    "description": "What the login has answered, beside its cookie for all but GET.",
                },
                "homeKey": bearer("The key of the home address."),
                "takeOverToken": bearer("A take-over token: reads and moves its own home addresses."),
            },
        },
    })
}

fn operation(route: &Route, without_tokens: bool, taken: &mut SchemaGenerator, given: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for Gives { status, words, content } in route.gives {
        let content = match content {
            Content::Empty => json!({ "description": words }),
            Content::Json(shape) => json!({ "description": words, "content": { "application/json": { "schema": shape(given) } } }),
            Content::Cookie(shape) => {
                let mut response = json!({ "description": words, "headers": { "Set-Cookie": { "schema": { "type": "string" } } } });
                if let Some(shape) = shape {
                    response["content"] = json!({ "application/json": { "schema": shape(given) } });
                }
                response
            }
            Content::Text(kind) => json!({ "description": words, "content": { (*kind): { "schema": { "type": "string" } } } }),
        };
        responses.insert(status.to_string(), content);
    }
    let of_right = if matches!(route.right, Right::Open | Right::Optional) { &[][..] } else { &OF_RIGHT };
    for status in OF_ANY.iter().chain(of_right).chain(route.refuses) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    let mut operation =
        json!({ "operationId": route.name, "summary": route.words, "security": security(route, without_tokens), "responses": responses });
    if !route.parameters.is_empty() {
        operation["parameters"] = route.parameters.iter().map(parameter).collect();
    }
    if let Some(takes) = route.takes {
        let content = json!({ "application/json": { "schema": (takes.shape)(taken) } });
        operation["requestBody"] = json!({ "required": !takes.optional, "content": content });
    }
    operation
}

/// All ways to be let in, each with what it takes together; an empty one takes nothing, and none at all says that nothing is looked at.
fn security(route: &Route, without_tokens: bool) -> Vec<Value> {
    let operator = json!({ "operator": [] });
    // A browser sends the cookie by itself: what changes something takes more.
    let login = if route.method == "GET" { json!({ "login": [] }) } else { json!({ "login": [], "csrf": [] }) };
    let (home_key, token, nothing) = (json!({ "homeKey": [] }), json!({ "takeOverToken": [] }), json!({}));
    let mut ways = match route.right {
        Right::Open => return Vec::new(),
        Right::Login => return vec![login],
        Right::Optional => return vec![operator, login, nothing],
        Right::Device => return vec![operator, login, home_key, token, nothing],
        Right::Operator => vec![operator, login],
        Right::Holder => vec![operator, login, home_key],
        Right::Reader => vec![operator, login, home_key, token],
    };
    if without_tokens {
        ways.push(nothing);
    }
    ways
}

/// What stands for a part of a path.
fn of_path(name: &str, given: &mut SchemaGenerator) -> Value {
    let (words, schema) = match name {
        "session" => ("The presentation.", json!(given.subschema_for::<SessionId>())),
        "spi" => ("The index of the key.", json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{8}$" })),
        "home" => ("A home address, or its name.", json!({ "type": "string", "minLength": 1 })),
        "binding" => ("The binding.", json!({ "type": "integer", "format": "uint16", "minimum": 1, "maximum": u16::MAX })),
        "consent" => ("The number of an open question.", json!({ "type": "string", "pattern": "^[0-9]+$" })),
        _ => ("", json!({ "type": "string" })),
    };
    json!({ "name": name, "in": "path", "required": true, "description": words, "schema": schema })
}

fn parameter(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::LastEventId => json!({
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The id of the last event that was heard: those behind it are told again, as far as they are kept, else `missed` says \
                            how many are lost.",
            "schema": { "type": "string" },
        }),
        Parameter::Asked => json!({
            "name": "asked",
            "in": "query",
            "description": "`taker`: without any key, the questions whether the asker's own address is to have a flow.",
            "schema": { "type": "string", "enum": ["taker"] },
        }),
        Parameter::Rtp => json!({
            "name": "rtp",
            "in": "query",
            "required": false,
            "description": "The port that the receiver listens on for RTP; RTCP is the next one.",
            "schema": { "type": "integer", "format": "uint16", "minimum": 1, "maximum": u16::MAX - 1, "default": 5004 },
        }),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema as _;

    use super::*;

    /// Every reference in a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_is_named_is_there_and_everything_there_is_named() {
        let document = document(true, COOKIES[0]);
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in &found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for schema in document["components"]["schemas"].as_object().expect("schemas").keys() {
            assert!(found.contains(&format!("#/components/schemas/{schema}").as_str()), "{schema} is named nowhere");
        }
        for path in document["paths"].as_object().expect("paths").keys() {
            let described = document["paths"][path]["parameters"].as_array().map_or(0, Vec::len);
            assert_eq!(described, path.matches('{').count(), "{path}");
        }
    }

    #[test]
    fn what_is_taken_and_what_is_given_have_names_of_their_own() {
        let names = |contract: fn(SchemaSettings) -> SchemaSettings, taken: bool| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = "/components/schemas".into();
            let mut generator = SchemaGenerator::new(contract(settings));
            for route in ROUTES {
                match (taken, route.takes) {
                    (true, Some(takes)) => drop((takes.shape)(&mut generator)),
                    (true, None) => {}
                    (false, _) => route.gives.iter().for_each(|gives| {
                        if let Content::Json(shape) = gives.content {
                            shape(&mut generator);
                        }
                    }),
                }
            }
            generator.take_definitions(true)
        };
        let (taken, given) = (names(SchemaSettings::for_deserialize, true), names(SchemaSettings::for_serialize, false));
        for (name, schema) in &taken {
            assert!(given.get(name).is_none_or(|other| other == schema), "{name} is two things");
        }
    }

    #[test]
    fn without_tokens_this_machine_needs_none() {
        let security = |without| document(without, COOKIES[0])["paths"]["/metrics"]["get"]["security"].clone();
        assert_eq!(security(true), json!([{ "operator": [] }, { "login": [] }, {}]));
        assert_eq!(security(false), json!([{ "operator": [] }, { "login": [] }]));
        assert_eq!(Refusal::schema_name(), "Problem");
    }

    #[test]
    fn a_login_opens_what_an_operator_s_token_does_and_needs_its_second_secret_where_something_changes() {
        let document = document(false, COOKIES[1]);
        assert_eq!(document["components"]["securitySchemes"]["login"]["name"], "__Host-flowsteer");
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            let ways = operation["security"].as_array().expect("security is stated");
            let by = |scheme: &str| ways.iter().find(|way| way.get(scheme).is_some());
            assert_eq!(by("login").is_some(), route.right != Right::Open, "{route:?}");
            assert!(by("operator").is_none() || by("login").is_some(), "{route:?}");
            assert!(by("login").is_none_or(|login| login.get("csrf").is_some() == (route.method != "GET")), "{route:?}");
            let may_refuse = route.right != Right::Optional && (route.right != Right::Open || route.name == "logIn");
            assert_eq!(operation["responses"].get("403").is_some(), may_refuse, "{route:?}");
        }
    }
}
