//! Asks a service whether a flow may go to a device: one POST, `{"home", "flow", "homes", "taker", "way"}`, answered with 200 and
//! `{"allow": true}`. Anything else, and silence, is no. Redirects are not followed: only the configured host is asked.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::now::Now;
use crate::steering::BindingCache;
use crate::steering::consent::Question;

/// How long the service may take. A player waits for 7 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has so many octets at most.
const MAX_ANSWER: usize = 4096;

/// Why a service has given no answer.
#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("its URL has no host")]
    NoHost,
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    TooLong,
    #[error("nobody vouches for it: steering.consent_ca is not set")]
    Unvouched,
    #[error("it is not there: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("it speaks no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("no request can be made for it: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("its answer is too large or broken")]
    Body,
}

/// Whom services at `https://` URLs are taken for: nobody, until it is said who vouches for them.
#[derive(Debug, Default)]
pub struct Vouchers(ArcSwapOption<ClientConfig>);

impl Vouchers {
    /// From now on.
    pub fn set(&self, vouched: Option<ClientConfig>) {
        self.0.store(vouched.map(Arc::new));
    }
}

/// Whether the service at `url` allows what a question is about.
pub async fn allows(url: &str, vouchers: &Vouchers, question: &Question, steering: &BindingCache, now: Now) -> bool {
    let first = question.flows.first().map(|(home, _)| *home);
    let label = first.and_then(|home| steering.home_view(home, now)?.label).map(|label| label.to_string());
    let body = json!({
        "home": first.map(|home| home.to_string()),
        "flow": label,
        "homes": question.flows.iter().map(|(home, _)| home.to_string()).collect::<Vec<_>>(),
        "taker": question.taker.to_string(),
        "way": question.way.as_str(),
    });
    let answer = tokio::time::timeout(PATIENCE, ask(url, vouchers, &body)).await.unwrap_or(Err(WebhookError::TooLong));
    let outcome = match &answer {
        Ok(true) => "allowed",
        Ok(false) => "refused",
        Err(_) => "failed",
    };
    metrics::counter!("flowsteer_consent_webhook_total", "outcome" => outcome).increment(1);
    answer.unwrap_or_else(|error| {
        tracing::warn!("the service that consents gave no answer, which is no: {error}");
        false
    })
}

async fn ask(url: &str, vouchers: &Vouchers, body: &Value) -> Result<bool, WebhookError> {
    let uri: Uri = url.parse().map_err(|_| WebhookError::NoHost)?;
    let host = uri.host().ok_or(WebhookError::NoHost)?;
    let is_secured = uri.scheme_str() == Some("https");
    let (name, port) = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(if is_secured { 443 } else { 80 }));
    let stream = TcpStream::connect((name, port)).await?;
    if !is_secured {
        return talk(stream, &uri, host, body).await;
    }
    let vouched = vouchers.0.load_full().ok_or(WebhookError::Unvouched)?;
    let name = ServerName::try_from(name.to_owned()).map_err(|_| WebhookError::NoHost)?;
    talk(TlsConnector::from(vouched).connect(name, stream).await?, &uri, host, body).await
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
    host: &str,
    body: &Value,
) -> Result<bool, WebhookError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Also where it is given up.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path).header("host", authority).header("content-type", "application/json");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_string())))?).await?;
    if response.status() != StatusCode::OK {
        return Err(WebhookError::Status(response.status()));
    }
    let octets = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|_| WebhookError::Body)?.to_bytes();
    let answer: Value = serde_json::from_slice(&octets).map_err(|_| WebhookError::Body)?;
    Ok(answer["allow"] == true)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, IsCa, KeyPair};
    use rustls::crypto::ring;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::now::Mono;
    use crate::steering::SteeringSettings;
    use crate::steering::consent::{Decider, QuestionId, Way};

    /// What a service comes to that answers a call with these octets, and then keeps the connection or closes it.
    async fn answered(octets: &[u8], keeps: bool) -> Result<bool, WebhookError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/may?of=us", listener.local_addr().expect("an address"));
        let service = async {
            let (stream, _) = listener.accept().await.expect("a call");
            serve(stream, octets, keeps).await;
        };
        let body = json!({ "taker": "192.0.2.7" });
        let vouchers = Vouchers::default();
        let (answer, ()) = tokio::join!(ask(&url, &vouchers, &body), service);
        answer
    }

    /// Reads one call, and answers it.
    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, octets: &[u8], keeps: bool) {
        let (mut call, mut part) = (Vec::new(), [0; 1024]);
        while !call.ends_with(b"}") {
            let count = stream.read(&mut part).await.expect("the call is read");
            assert!(count > 0, "the call is whole");
            call.extend_from_slice(&part[..count]);
        }
        assert!(call.starts_with(b"POST /may?of=us HTTP/1.1\r\nhost: 127.0.0.1:"), "{}", String::from_utf8_lossy(&call));
        // Who has heard enough closes.
        let _ = stream.write_all(octets).await;
        let _ = stream.flush().await;
        if keeps {
            let _ = stream.read(&mut part).await;
        }
    }

    /// A certificate of that address, and its key.
    fn pair() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        parameters.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate().expect("randomness");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn vouching_for(certificate: &CertificateDer<'static>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it is one");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("there are some");
        builder.with_root_certificates(roots).with_no_client_auth()
    }

    #[tokio::test]
    async fn a_service_over_tls_is_asked_where_its_certificate_is_vouched_for() {
        let ((certificate, key), (other, _)) = (pair(), pair());
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("there are some").with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate.clone()], key).expect("a pair")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}/may?of=us", listener.local_addr().expect("an address"));
        let (vouchers, body, yes) = (Vouchers::default(), json!({ "taker": "192.0.2.7" }), with_body("200 OK", r#"{"allow": true}"#));
        let service = async {
            let (stream, _) = listener.accept().await.expect("a call");
            // Who is not taken for the service hears nothing.
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &yes, false).await;
            }
        };
        vouchers.set(Some(vouching_for(&other)));
        let (refused, ()) = tokio::join!(ask(&url, &vouchers, &body), service);
        assert!(matches!(refused, Err(WebhookError::Unreachable(_))), "{refused:?}");
        let service = async {
            let (stream, _) = listener.accept().await.expect("a call");
            serve(acceptor.accept(stream).await.expect("TLS"), &yes, true).await;
        };
        vouchers.set(Some(vouching_for(&certificate)));
        let (allowed, ()) = tokio::join!(ask(&url, &vouchers, &body), service);
        assert!(allowed.expect("an answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_says_no_after_a_while() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let settings = SteeringSettings::new("fd00::/64".parse().expect("a prefix"));
        let steering = BindingCache::new(settings, Box::new(|_| {}), Box::new(|_, _| {}));
        let (id, way, decider) = (QuestionId(1), Way::Rtsp, Decider::Holder);
        let taker = "192.0.2.7".parse().expect("an address");
        let question = Question { id, flows: Vec::new(), taker, way, decider, until: Mono::default() };
        let begun = tokio::time::Instant::now();
        assert!(!allows(&url, &Vouchers::default(), &question, &steering, Now::default()).await);
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }

    fn with_body(status: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[tokio::test]
    async fn only_a_clear_yes_is_one() {
        for (body, allowed) in [
            (r#"{"allow": true}"#, true),
            (r#"{"allow": true, "until": "noon"}"#, true),
            (r#"{"allow": false}"#, false),
            (r#"{"allow": "true"}"#, false),
            (r#"{"allow": 1}"#, false),
            ("{}", false),
            ("[true]", false),
            ("true", false),
        ] {
            assert_eq!(answered(&with_body("200 OK", body), true).await.expect("JSON"), allowed, "{body}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_no_yes() {
        let yes = r#"{"allow": true}"#;
        let other = answered(&with_body("202 Accepted", yes), true).await;
        assert!(matches!(other, Err(WebhookError::Status(StatusCode::ACCEPTED))), "{other:?}");
        let redirected = answered(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", true).await;
        assert!(matches!(redirected, Err(WebhookError::Status(StatusCode::FOUND))), "{redirected:?}");
        for body in ["", "yes", "{\"allow\": true", &format!("{yes}{}", " ".repeat(MAX_ANSWER))] {
            let broken = answered(&with_body("200 OK", body), true).await;
            assert!(matches!(broken, Err(WebhookError::Body)), "{} octets: {broken:?}", body.len());
        }
        let cut = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"allow\"", false).await;
        assert!(matches!(cut, Err(WebhookError::Body)), "{cut:?}");
        for octets in [&b"SSH-2.0-service\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n", b"", &[b'x'; 1 << 20]] {
            let none = answered(octets, false).await;
            assert!(matches!(none, Err(WebhookError::Http(_))), "{none:?}");
        }
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_or_that_nobody_vouches_for_is_none() {
        // Nobody listens, and nobody else gets the port.
        let held = tokio::net::TcpSocket::new_v4().expect("a socket");
        held.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let closed = held.local_addr().expect("an address");
        let (vouchers, body) = (Vouchers::default(), Value::Null);
        let none = ask(&format!("http://{closed}/"), &vouchers, &body).await;
        assert!(matches!(none, Err(WebhookError::Unreachable(_))), "{none:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}/", listener.local_addr().expect("an address"));
        let unvouched = ask(&url, &vouchers, &body).await;
        assert!(matches!(unvouched, Err(WebhookError::Unvouched)), "{unvouched:?}");
    }
}
