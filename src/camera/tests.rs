//! A camera whose configuration changes while it is asked, or plays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::library::TitlePath;
use crate::library::live::{LiveSettings, LiveTitles};

const SOON: Duration = Duration::from_secs(8);
const DESCRIPTION: &str =
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:0\r\n";

async fn at_a_port() -> (TcpListener, Camera) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("rtsp://{}/live", listener.local_addr().expect("bound")).parse().expect("a URL");
    (listener, Camera { source: Source { url, credentials: None, udp: false }, always: false })
}

/// Answers one session: `plays` is told once it plays, and TEARDOWN is answered late.
async fn answer(connection: TcpStream, plays: &Notify, is_left: &AtomicBool) -> Option<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut method, mut number) = (None, String::new());
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            if line.to_ascii_lowercase().starts_with("cseq:") {
                number = line.trim().to_owned();
            }
            method.get_or_insert_with(|| line.split(' ').next().unwrap_or_default().to_owned());
        }
        let method = method?;
        let (headers, body) = match method.as_str() {
            "DESCRIBE" => (format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", DESCRIPTION.len()), DESCRIPTION),
            "SETUP" => ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1234\r\n".to_owned(), ""),
            _ => ("Session: 1234\r\n".to_owned(), ""),
        };
        if method == "TEARDOWN" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            is_left.store(true, Ordering::SeqCst);
        }
        connection.write_all(format!("RTSP/1.0 200 OK\r\n{number}\r\n{headers}\r\n{body}").as_bytes()).await.ok()?;
        if method == "PLAY" {
            plays.notify_one();
        }
    }
}

#[tokio::test]
async fn who_waits_for_a_camera_waits_for_the_one_in_its_place_which_is_asked_once_the_session_before_is_over() {
    let titles = Arc::new(LiveTitles::default());
    let feed = titles.add(TitlePath::new("door").expect("a path"), LiveSettings::default()).expect("it is free");
    let title = Arc::clone(feed.title());
    let ((silent, first), (answers, second), (last, third)) = (at_a_port().await, at_a_port().await, at_a_port().await);
    let (tell, told) = watch::channel(Some(first));
    let pulls = tokio::spawn(Camera::run(feed, told));
    let waits = tokio::spawn(async move { title.open().await });
    let (connection, _) = timeout(SOON, silent.accept()).await.expect("it is asked").expect("a connection");
    tell.send_replace(Some(second));
    let (answered, _) = timeout(SOON, answers.accept()).await.expect("the other one is asked").expect("a connection");
    let (plays, is_left) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let answering = tokio::spawn({
        let (plays, is_left) = (Arc::clone(&plays), Arc::clone(&is_left));
        async move { answer(answered, &plays, &is_left).await }
    });
    timeout(SOON, plays.notified()).await.expect("it plays");
    assert!(!waits.is_finished() && !is_left.load(Ordering::SeqCst));
    tell.send_replace(Some(third));
    let (_connection, _) = timeout(SOON, last.accept()).await.expect("the third one is asked").expect("a connection");
    assert!(is_left.load(Ordering::SeqCst), "the session before is over");
    tell.send_replace(None);
    timeout(SOON, pulls).await.expect("it ends").expect("no panic");
    drop((connection, answering, waits));
}
