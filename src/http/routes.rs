//! Which calls there are, what each takes and what it answers. What is checked of a request before it is answered and what the API says of
//! itself (`description`) both come from this table; the shapes come from the types.

use std::collections::BTreeSet;

use hyper::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::http::body::{
    AnswerBody, Answered, BindingBody, ContextBody, LoggedIn, LoginBody, OpenQuestion, PlayBody, ReserveBody, Reserved, SeekBody,
    StartBody, TakeOver, WithheldBinding,
};
use crate::http::devices::Device;
use crate::http::problem::Problem;
use crate::http::shape::{Home, Session, Title};

/// Makes the schema of a type, or the reference to it.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// Whose right a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Nobody's.
    Open,
    /// Nobody's, but an operator is told more.
    Optional,
    /// An operator's.
    Operator,
    /// An operator's, or that of who has the home key.
    Holder,
    /// Also that of who has a take-over token.
    Reader,
    /// That of who has logged in.
    Login,
    /// As `Reader`; a device that is asked shows nothing but its address, and with an answer the key of the question.
    Device,
}

/// A body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takes {
    pub(super) shape: Shape,
    /// Whether it can be left out.
    pub(super) optional: bool,
}

/// What stands in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Nothing.
    Empty,
    /// JSON of this shape.
    Json(Shape),
    /// A cookie, and JSON of this shape if there is one.
    Cookie(Option<Shape>),
    /// Text of this media type.
    Text(&'static str),
}

/// An answer that is no refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gives {
    pub(super) status: u16,
    pub(super) words: &'static str,
    pub(super) content: Content,
}

/// A parameter beside those of the path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parameter {
    /// `Last-Event-ID`.
    LastEventId,
    /// `?asked=`.
    Asked,
    /// `?rtp=`.
    Rtp,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// With what stands for a part of it in braces.
    pub(super) path: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    pub(super) words: &'static str,
    pub(super) right: Right,
    pub(super) parameters: &'static [Parameter],
    pub(super) takes: Option<Takes>,
    pub(super) gives: &'static [Gives],
    /// The statuses of refusals, beside those that any call may get.
    pub(super) refuses: &'static [u16],
}

const fn shape<T: JsonSchema>() -> Shape {
    SchemaGenerator::subschema_for::<T>
}

const fn body<T: JsonSchema>() -> Option<Takes> {
    Some(Takes { shape: shape::<T>(), optional: false })
}

const fn optional<T: JsonSchema>() -> Option<Takes> {
    Some(Takes { shape: shape::<T>(), optional: true })
}

const fn json<T: JsonSchema>(status: u16, words: &'static str) -> Gives {
    Gives { status, words, content: Content::Json(shape::<T>()) }
}

const fn text(kind: &'static str, words: &'static str) -> Gives {
    Gives { status: 200, words, content: Content::Text(kind) }
}

fn a_description(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object", "required": ["openapi", "paths"] })
}

const PLAIN: &str = "text/plain; charset=utf-8";
const DONE: &[Gives] = &[Gives { status: 204, words: "Done.", content: Content::Empty }];

/// A call without a body that reads something.
const fn get(path: &'static str, name: &'static str, words: &'static str, right: Right, gives: &'static [Gives]) -> Route {
    Route { method: "GET", path, name, words, right, parameters: &[], takes: None, gives, refuses: &[] }
}

/// A call that does something.
const fn does(method: &'static str, path: &'static str, name: &'static str, words: &'static str, right: Right) -> Route {
    Route { method, path, name, words, right, parameters: &[], takes: None, gives: DONE, refuses: &[] }
}

const SESSIONS: &str = "/api/v1/sessions";
const HOMES: &str = "/api/v1/home-addresses";
const HOME: &str = "/api/v1/home-addresses/{home}";
const BINDING: &str = "/api/v1/home-addresses/{home}/bindings/{binding}";

/// What is told of a presentation by who controls it.
const SESSION: &[Gives] = &[json::<Session>(200, "The presentation.")];

/// Every call.
pub(super) const ROUTES: &[Route] = &[
    get("/healthz", "healthz", "Whether the process lives.", Right::Open, &[text(PLAIN, "It does.")]),
    Route {
        refuses: &[503],
        ..get(
            "/readyz",
            "readyz",
            "Whether the data plane answers, and the server is not about to stop.",
            Right::Open,
            &[text(PLAIN, "It does.")],
        )
    },
    get(
        "/metrics",
        "metrics",
        "Numbers, as Prometheus reads them.",
        Right::Operator,
        &[text("text/plain; version=0.0.4; charset=utf-8", "The numbers.")],
    ),
    get(
        "/api/openapi.json",
        "openapi",
        "This description.",
        Right::Open,
        &[Gives { status: 200, words: "It.", content: Content::Json(a_description) }],
    ),
    get(
        "/api/v1/login",
        "loggedIn",
        "Who has logged in with this cookie, and what goes into `X-CSRF-Token`.",
        Right::Login,
        &[json::<LoggedIn>(200, "Somebody has.")],
    ),
    Route {
        takes: body::<LoginBody>(),
        gives: &[Gives {
            status: 200,
            words: "Done: the cookie says so from now on.",
            content: Content::Cookie(Some(shape::<LoggedIn>())),
        }],
        refuses: &[400, 401, 403, 415, 429, 503],
        ..does("POST", "/api/v1/login", "logIn", "Logs a user with the role operator in. Without TLS from this machine alone.", Right::Open)
    },
    Route {
        gives: &[Gives { status: 204, words: "Done.", content: Content::Cookie(None) }],
        ..does("POST", "/api/v1/logout", "logOut", "Ends the login.", Right::Login)
    },
    get(
        "/api/v1/titles",
        "titles",
        "What is served; to others than operators what plays for anyone.",
        Right::Optional,
        &[json::<Vec<Title>>(200, "The titles.")],
    ),
    get(
        "/api/v1/consents",
        "consents",
        "The open questions whether a flow may go to another device, those that the asker may answer.",
        Right::Device,
        &[json::<Vec<OpenQuestion>>(200, "The questions.")],
    ),
    Route {
        takes: body::<AnswerBody>(),
        gives: &[json::<Answered>(200, "Answered.")],
        refuses: &[400, 404, 409],
        ..does(
            "POST",
            "/api/v1/consents/{consent}",
            "answer",
            "Answers a question. A yes lets the same key at the same address pass for 60 s.",
            Right::Device,
        )
    },
    get(
        "/api/v1/devices",
        "devices",
        "Devices that flows can be sent to: those of the configuration, and those that flows went to since the server started, the last one \
         first.",
        Right::Operator,
        &[json::<Vec<Device>>(200, "The devices.")],
    ),
    Route {
        parameters: &[Parameter::LastEventId, Parameter::Asked],
        ..get(
            "/api/v1/events",
            "events",
            "Server-sent events `session`, `binding`, `handover`, `consent`, `drop`, `title` and `missed`; with a home key or token those of its \
             home addresses.",
            Right::Device,
            &[text("text/event-stream", "The events, until the right to them ends.")],
        )
    },
    Route {
        refuses: &[503],
        ..get(SESSIONS, "sessions", "What plays.", Right::Operator, &[json::<Vec<Session>>(200, "The presentations.")])
    },
    Route {
        takes: body::<StartBody>(),
        gives: &[json::<Session>(201, "It plays, or waits for a device.")],
        refuses: &[400, 404, 409, 422, 503],
        ..does("POST", SESSIONS, "start", "Plays a title to home addresses.", Right::Holder)
    },
    Route { refuses: &[404, 503], ..get("/api/v1/sessions/{session}", "session", "One presentation.", Right::Operator, SESSION) },
    Route {
        takes: optional::<PlayBody>(),
        gives: SESSION,
        refuses: &[400, 404, 422, 503],
        ..does("POST", "/api/v1/sessions/{session}/play", "play", "Goes on, at another scale or speed if asked.", Right::Operator)
    },
    Route {
        gives: SESSION,
        refuses: &[404, 503],
        ..does("POST", "/api/v1/sessions/{session}/pause", "pause", "Stands still.", Right::Operator)
    },
    Route {
        takes: body::<SeekBody>(),
        gives: SESSION,
        refuses: &[400, 404, 422, 503],
        ..does(
            "POST",
            "/api/v1/sessions/{session}/seek",
            "seek",
            "Plays from another position; what stands goes on standing.",
            Right::Operator,
        )
    },
    Route { refuses: &[404, 503], ..does("POST", "/api/v1/sessions/{session}/end", "end", "Ends it.", Right::Operator) },
    Route {
        refuses: &[503],
        ..get(HOMES, "homeAddresses", "All home addresses that are reserved.", Right::Operator, &[json::<Vec<Home>>(200, "They.")])
    },
    Route {
        takes: optional::<ReserveBody>(),
        gives: &[json::<Reserved>(201, "Reserved.")],
        refuses: &[400, 404, 409, 422, 503],
        ..does("POST", HOMES, "reserve", "Reserves one; with `careOf` it is bound in the same step.", Right::Operator)
    },
    Route { refuses: &[404, 503], ..get(HOME, "homeAddress", "One home address.", Right::Reader, &[json::<Home>(200, "It.")]) },
    Route { refuses: &[404, 503], ..does("DELETE", HOME, "release", "Lets it go, and ends what was opened with it.", Right::Holder) },
    Route {
        takes: body::<BindingBody>(),
        gives: &[
            json::<Home>(200, "The home address."),
            json::<WithheldBinding>(202, "Consent is asked for: nothing has changed, the same call binds behind a yes."),
        ],
        refuses: &[400, 404, 409, 422, 503],
        ..does("PUT", BINDING, "bind", "Moves or forks the flow to a care-of, or refreshes a binding.", Right::Reader)
    },
    Route { refuses: &[404, 503], ..does("DELETE", BINDING, "unbind", "Removes that care-of.", Right::Holder) },
    Route {
        takes: optional::<ContextBody>(),
        gives: &[json::<TakeOver>(200, "The context.")],
        refuses: &[400, 404, 409, 422, 503],
        ..does("POST", "/api/v1/home-addresses/{home}/context", "context", "What another device needs to take over.", Right::Holder)
    },
    Route {
        refuses: &[404, 409],
        ..does("DELETE", "/api/v1/home-addresses/{home}/keys", "revoke", "Refuses all session keys and tokens made so far.", Right::Holder)
    },
    Route {
        refuses: &[400, 404, 409],
        ..does("DELETE", "/api/v1/home-addresses/{home}/keys/{spi}", "revokeOne", "Refuses one.", Right::Holder)
    },
    Route {
        parameters: &[Parameter::Rtp],
        refuses: &[400, 404, 409, 503],
        ..get(
            "/api/v1/home-addresses/{home}/sdp",
            "sdp",
            "A description for a receiver without RTSP.",
            Right::Reader,
            &[text("application/sdp", "The description.")],
        )
    },
];

/// Every call: its method, and its path with what stands for a part of it in braces.
pub fn calls() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method, route.path))
}

/// Whether there is such a call; nothing else is answered.
///
/// # Errors
/// 404 for a path that is none, 405 for another method than those of the path.
pub(super) fn check(method: &Method, path: &[&str]) -> Result<(), Problem> {
    let matches = |template: &str| {
        let parts = template.split('/').skip(1);
        parts.clone().count() == path.len() && parts.zip(path).all(|(part, given)| part.starts_with('{') || part == *given)
    };
    let methods: BTreeSet<&str> = ROUTES.iter().filter(|route| matches(route.path)).map(|route| route.method).collect();
    if methods.is_empty() {
        return Err(Problem::not_found("resource"));
    }
    if methods.contains(method.as_str()) { Ok(()) } else { Err(Problem::method(&Vec::from_iter(methods))) }
}
