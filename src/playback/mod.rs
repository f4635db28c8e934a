//! Playing titles: the presentation's clock, its flows, the schedule, RTCP.
//!
//! Pure. A [`Stage`] is how carriages reach the presentations, wherever these run.

pub mod checkpoints;
pub mod clock;
pub mod feedback;
pub mod flow;
pub mod presentation;
pub mod report;
pub mod rtx;
pub mod scale;
mod seek;
mod speed;
pub mod stage;

pub use scale::Scale;
pub use seek::SeekStyle;
pub use speed::Speed;
pub use stage::{
    Awaited, BranchSnapshot, Command, FlowFacts, FlowSnapshot, FlowStart, NewFlow, NptRange, Opening, Perform, PlayRequest, PlaybackError,
    Playing, PresentationId, PresentationSnapshot, PresentationState, Reply, ReportOrigin, Stage,
};
