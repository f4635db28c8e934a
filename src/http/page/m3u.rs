//! A playlist of one title, as players open it: extended M3U in UTF-8.

use std::fmt::Write as _;

/// The playlist of a title at `url`, `seconds` long where it has an end.
pub fn playlist(name: &str, url: &str, seconds: Option<f64>) -> String {
    // A line's end in a name would begin another entry.
    let name: String = name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let length = seconds.map_or(-1, |seconds| seconds.round() as i64);
    let mut text = String::from("#EXTM3U\n");
    let _ = writeln!(text, "#EXTINF:{length},{name}\n{url}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_begins_another_entry() {
        let text = playlist("Köln\nrtsp://other/\r", "rtsp://host:8554/K%C3%B6ln", Some(61.6));
        assert_eq!(text, "#EXTM3U\n#EXTINF:62,Köln rtsp://other/ \nrtsp://host:8554/K%C3%B6ln\n");
    }

    #[test]
    fn a_live_title_has_no_length() {
        assert_eq!(playlist("camera", "rtsp://host:8554/camera", None), "#EXTM3U\n#EXTINF:-1,camera\nrtsp://host:8554/camera\n");
    }
}
