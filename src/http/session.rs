//! Starts a title at home addresses (`POST /api/v1/sessions`).
//!
//! One home address takes one flow: the media that its name says, else the pictures, else the title's only track. A name
//! from the configuration stands for all of its home addresses; `homes` says it for each kind of media.

use std::sync::Arc;

use crate::http::api::{Api, Call, Outcome, read};
use crate::http::authority::Requester;
use crate::http::body::{HomesBody, StartBody};
use crate::http::problem::Problem;
use crate::library::{Form, Title, TitlePath};
use crate::now::Now;
use crate::playback::{Opening, PlayRequest, PresentationId};
use crate::quantities::MediaKind;
use crate::sdp::payload_type;
use crate::steering::{Expectation, HomeAddress, Owner, Reserve};

/// Where one track is to be played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    track: usize,
    home: HomeAddress,
    /// Whether it is reserved; else it is kept under a name, and reserved for the session.
    reserved: bool,
}

const KINDS: [MediaKind; 3] = [MediaKind::Video, MediaKind::Audio, MediaKind::Text];

impl Api {
    pub(super) async fn start(&self, call: &Call, who: &Requester, now: Now) -> Result<Outcome, Problem> {
        if matches!(who, Requester::Anybody) {
            return Err(Problem::new(401, "unauthorized", "operators, or the key of the home address"));
        }
        let body: StartBody = read(&call.body)?;
        let path = TitlePath::new(&body.title).ok_or_else(|| Problem::not_found("title"))?;
        if !self.settings.access.list().is_open(path.as_str()) {
            // Who has a key of a home address is no user.
            who.operator()?;
        }
        let opened = self.library.open_path(&path, Form::Tracks).await.ok_or_else(|| Problem::not_found("title"))?;
        let title = opened.map_err(|problem| Problem::new(422, "unplayable", problem))?;
        let places = match (&body.home, &body.homes) {
            (Some(home), None) => self.places(&title, home, who, now)?,
            (None, Some(homes)) => self.places_by_kind(&title, &homes.0)?,
            _ => return Err(Problem::invalid("one of home and homes is needed")),
        };
        for place in &places {
            if place.reserved { who.holder(place.home, &self.steering, now)? } else { who.operator()? }
        }
        let mut drawn = [0; 8];
        getrandom::fill(&mut drawn).map_err(|_| Problem::new(500, "no-randomness", "the system gives no random octets"))?;
        let id = PresentationId(u64::from_be_bytes(drawn));
        let opener = (!matches!(who, Requester::Operator)).then_some(call.peer.ip());
        self.stage.open(id, Opening { opener, ..Opening::whole(Arc::clone(&title)) }).await?;
        if let Err(problem) = self.play_at(id, &title, &places, call, now).await {
            // It may have ended meanwhile.
            let _ = self.stage.end(id).await;
            return Err(problem);
        }
        let snapshot = self.stage.snapshot(id).await?;
        Outcome::shown(201, &self.session(&snapshot, now))
    }

    async fn play_at(&self, id: PresentationId, title: &Title, places: &[Place], call: &Call, now: Now) -> Result<(), Problem> {
        for place in places {
            let codec = title.tracks.get(place.track).map(|track| &track.codec);
            let expectation =
                Expectation { payload_type: codec.and_then(|codec| payload_type(codec, place.track)), ..Expectation::default() };
            let label = if place.reserved {
                self.steering.play_to(place.home, id.0, expectation, None, now)?
            } else {
                let (owner, media_source) = (Owner::Presentation(id.0), self.media_source(call));
                self.steering.reserve(&Reserve { owner, address: Some(place.home), lifetime: None, media_source }, now)?;
                let label = self.steering.draw_label();
                self.steering.authorise(place.home, label, expectation)?;
                label
            };
            if let Err(error) = self.stage.add_flow(id, place.track, place.home, label).await {
                self.steering.leave(place.home, id.0, now);
                return Err(error.into());
            }
        }
        self.stage.play(id, PlayRequest::default()).await?;
        Ok(())
    }

    /// What `home` means for a title.
    fn places(&self, title: &Title, home: &str, who: &Requester, now: Now) -> Result<Vec<Place>, Problem> {
        let named = |kind| self.steering.named(&kept_name(home, kind));
        if named(MediaKind::Video).is_none() || named(MediaKind::Audio).is_none() {
            let home = self.find_home(home)?;
            let kind = self.steering.name_of(home).map_or(MediaKind::Video, |name| kind_of(&name));
            let track = match (track_of(title, kind), title.tracks.as_slice()) {
                (Some(track), _) => track,
                (None, [_]) if kind == MediaKind::Video => 0,
                (None, _) => return Err(no_track(kind)),
            };
            return Ok(vec![self.place(track, home)?]);
        }
        let all: Vec<Place> = KINDS
            .into_iter()
            .filter_map(|kind| Some((track_of(title, kind)?, named(kind)?)))
            .map(|(track, home)| self.place(track, home))
            .collect::<Result<_, _>>()?;
        // What somebody has reserved of it is what is meant; of that, what the asker has the key of.
        let reserved: Vec<Place> = all.iter().copied().filter(|place| place.reserved).collect();
        let held: Vec<Place> = reserved.iter().copied().filter(|place| who.holder(place.home, &self.steering, now).is_ok()).collect();
        [held, reserved, all].into_iter().find(|places| !places.is_empty()).ok_or_else(|| no_track(MediaKind::Video))
    }

    fn places_by_kind(&self, title: &Title, homes: &HomesBody) -> Result<Vec<Place>, Problem> {
        let asked = KINDS.into_iter().zip([&homes.video, &homes.audio, &homes.text]);
        let asked = asked.filter_map(|(kind, home)| Some((kind, home.as_ref()?)));
        let places: Vec<Place> = asked
            .map(|(kind, home)| self.place(track_of(title, kind).ok_or_else(|| no_track(kind))?, self.find_home(home)?))
            .collect::<Result<_, _>>()?;
        if places.is_empty() { Err(Problem::invalid("homes names no home address")) } else { Ok(places) }
    }

    fn place(&self, track: usize, home: HomeAddress) -> Result<Place, Problem> {
        let reserved = self.steering.owner(home).is_some();
        if !reserved && self.steering.name_of(home).is_none() {
            return Err(Problem::not_found("home address"));
        }
        Ok(Place { track, home, reserved })
    }
}

fn track_of(title: &Title, kind: MediaKind) -> Option<usize> {
    title.tracks.iter().position(|track| track.kind == kind)
}

fn no_track(kind: MediaKind) -> Problem {
    Problem::new(422, "no-track", format!("the title has no {kind} for this home address"))
}

/// Under which name the home address of a kind of media is kept: the pictures have the name itself.
fn kept_name(name: &str, kind: MediaKind) -> String {
    match kind {
        MediaKind::Video => name.to_owned(),
        MediaKind::Audio | MediaKind::Text => format!("{name}.{kind}"),
    }
}

fn kind_of(name: &str) -> MediaKind {
    let of = |kind: &MediaKind| name.ends_with(&format!(".{kind}"));
    [MediaKind::Audio, MediaKind::Text].into_iter().find(of).unwrap_or(MediaKind::Video)
}
