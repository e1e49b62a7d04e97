//! TensorBoard's event files: curves, pictures and histograms, to be watched while a model trains.
//!
//! A file is a sequence of records, and a record is, in little-endian order,
//!
//! ```text
//! length u64 | masked CRC-32C of these 8 bytes u32 | data | masked CRC-32C of the data u32
//! ```
//!
//! Data is one protobuf message, TensorFlow's `Event`. Only the fields that are written here are
//! declared; their numbers are those of `event.proto` and `summary.proto`. Nothing here knows about
//! training.

use crate::picture::Picture;
use prost::Message;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// TensorBoard reads files with `tfevents` in their names, in the order of their names.
const PREFIX: &str = "events.out.tfevents.";
/// The first event of every file; since version 2, a start drops the points behind it.
const FILE_VERSION: &str = "brain.Event:2";
/// The polynomial of RFC 3720.
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// An event file that cannot be made or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct EventError {
    path: PathBuf,
    source: io::Error,
}

/// Writes one event file. Values are buffered: `flush` makes them visible to a reader.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
    clock: fn() -> f64,
}

impl EventWriter {
    /// A new file in `folder`, behind those that are there, for the steps after `step`.
    ///
    /// Points beyond `step` in the older files are dropped by TensorBoard as it reads this one: a
    /// resumed run makes them again.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn open(folder: &Path, step: u64) -> Result<EventWriter, EventError> {
        EventWriter::with_clock(folder, step, unix_time)
    }

    /// As `open`, with a clock that tells the seconds since 1970.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn with_clock(
        folder: &Path,
        step: u64,
        clock: fn() -> f64,
    ) -> Result<EventWriter, EventError> {
        let named = |path: &Path| {
            let path = path.to_owned();
            move |source| EventError { path, source }
        };
        let last = last_number(folder).map_err(named(folder))?;
        // Also within a second, and when the clock was set back, the new file comes last.
        let number = last.map_or(0, |n| n.saturating_add(1)).max(clock() as u64);
        let path = folder.join(format!("{PREFIX}{number:010}.vq"));
        let file = File::create_new(&path).map_err(named(&path))?;
        let file = BufWriter::new(file);
        let mut writer = EventWriter { path, file, clock };
        writer.event(0, What::FileVersion(FILE_VERSION.into()))?;
        let start = SessionLog {
            status: SessionLog::START,
        };
        writer.event(step + 1, What::SessionLog(start))?;
        writer.flush()?;
        Ok(writer)
    }

    /// A point of the curve `tag`.
    ///
    /// # Errors
    /// Whatever the file system reports; so for the other values.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), EventError> {
        self.value(tag, step, summary::What::SimpleValue(value as f32))
    }

    /// A picture, stored as PNG.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn image(&mut self, tag: &str, step: u64, picture: &Picture) -> Result<(), EventError> {
        let side = |n: usize| i32::try_from(n).expect("a side fits i32");
        let image = summary::Image {
            height: side(picture.height),
            width: side(picture.width),
            colorspace: side(picture.channels),
            encoded_image_string: picture.to_png(),
        };
        self.value(tag, step, summary::What::Image(image))
    }

    /// A histogram of whole numbers: `counts[k]` of them are k. Nothing is written of an empty one.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn histogram(&mut self, tag: &str, step: u64, counts: &[u64]) -> Result<(), EventError> {
        match summary::Histogram::of_counts(counts) {
            Some(histogram) => self.value(tag, step, summary::What::Histo(histogram)),
            None => Ok(()),
        }
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn flush(&mut self) -> Result<(), EventError> {
        let flushed = self.file.flush();
        self.named(flushed)
    }

    fn value(&mut self, tag: &str, step: u64, what: summary::What) -> Result<(), EventError> {
        let value = summary::Value {
            tag: tag.into(),
            what: Some(what),
        };
        self.event(step, What::Summary(summary::Summary { value: vec![value] }))
    }

    fn event(&mut self, step: u64, what: What) -> Result<(), EventError> {
        let event = Event {
            wall_time: (self.clock)(),
            step: i64::try_from(step).expect("a step fits i64"),
            what: Some(what),
        };
        let written = self.file.write_all(&record(&event.encode_to_vec()));
        self.named(written)
    }

    fn named(&self, result: io::Result<()>) -> Result<(), EventError> {
        result.map_err(|source| EventError {
            path: self.path.clone(),
            source,
        })
    }
}

/// The largest number in the names of a folder's event files.
fn last_number(folder: &Path) -> io::Result<Option<u64>> {
    let mut last = None;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let behind = name.to_str().and_then(|n| n.strip_prefix(PREFIX));
        let number = behind.and_then(|n| n.split('.').next()?.parse().ok());
        last = last.max(number);
    }
    Ok(last)
}

fn unix_time() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

/// Data with its length and both checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
    bytes
}

/// CRC-32C, rotated and shifted, so that a checksum of data that holds checksums stays a good one.
fn masked_crc(data: &[u8]) -> u32 {
    CRC.checksum(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(summary::Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl SessionLog {
    const START: i32 = 1;
}

/// The messages of `summary.proto`.
mod summary {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub(super) value: Vec<Value>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Value {
        #[prost(string, tag = "1")]
        pub(super) tag: String,
        #[prost(oneof = "What", tags = "2, 4, 5")]
        pub(super) what: Option<What>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum What {
        #[prost(float, tag = "2")]
        SimpleValue(f32),
        #[prost(message, tag = "4")]
        Image(Image),
        #[prost(message, tag = "5")]
        Histo(Histogram),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Image {
        #[prost(int32, tag = "1")]
        pub(super) height: i32,
        #[prost(int32, tag = "2")]
        pub(super) width: i32,
        #[prost(int32, tag = "3")]
        pub(super) colorspace: i32,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) encoded_image_string: Vec<u8>,
    }

    /// `bucket[i]` values lie below `bucket_limit[i]`, and not below the limit before it, or `min`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(double, tag = "1")]
        min: f64,
        #[prost(double, tag = "2")]
        max: f64,
        #[prost(double, tag = "3")]
        num: f64,
        #[prost(double, tag = "4")]
        sum: f64,
        #[prost(double, tag = "5")]
        sum_squares: f64,
        #[prost(double, repeated, tag = "6")]
        bucket_limit: Vec<f64>,
        #[prost(double, repeated, tag = "7")]
        bucket: Vec<f64>,
    }

    impl Histogram {
        /// One bucket of width 1 around each number, from the first to the last that occurs.
        pub(super) fn of_counts(counts: &[u64]) -> Option<Histogram> {
            let first = counts.iter().position(|&n| n > 0)?;
            let last = counts.iter().rposition(|&n| n > 0)?;
            let numbers = first..=last;
            let bucket: Vec<f64> = counts[numbers.clone()].iter().map(|&n| n as f64).collect();
            let moment = |power| -> f64 {
                let terms = numbers.clone().zip(&bucket);
                terms.map(|(k, n)| n * (k as f64).powi(power)).sum()
            };
            let (num, sum, sum_squares) = (moment(0), moment(1), moment(2));
            Some(Histogram {
                min: first as f64 - 0.5,
                max: last as f64 + 0.5,
                num,
                sum,
                sum_squares,
                bucket_limit: numbers.map(|k| k as f64 + 0.5).collect(),
                bucket,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> f64 {
        1000.5
    }

    /// Undoes `record` by the description of the format, and checks both checksums.
    fn records(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let length = word(0) as usize;
            assert_eq!((word(4), word(8)), (0, masked_crc(&bytes[..8])));
            let data = &bytes[12..12 + length];
            assert_eq!(word(12 + length), masked_crc(data));
            events.push(Event::decode(data).unwrap());
            bytes = &bytes[16 + length..];
        }
        events
    }

    #[test]
    fn checksums_are_those_of_rfc_3720_and_of_every_event_file() {
        let rising: Vec<u8> = (0..32).collect();
        for (data, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[255; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
        ] {
            assert_eq!(CRC.checksum(data), crc);
        }
        // Event files begin with a record of 24 bytes, the version.
        assert_eq!(
            masked_crc(&24u64.to_le_bytes()).to_le_bytes(),
            [0xa3, 0x7f, b'K', b'"']
        );
    }

    #[test]
    fn what_is_written_is_read_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::with_clock(folder.path(), 40, clock).unwrap();
        writer.scalar("a/loss", 41, 0.25).unwrap();
        writer.histogram("codes", 42, &[0, 3, 0, 1]).unwrap();
        writer.histogram("codes", 43, &[0, 0]).unwrap();
        writer.flush().unwrap();
        let events = records(&std::fs::read(&writer.path).unwrap());
        assert_eq!(
            events.iter().map(|e| e.step).collect::<Vec<_>>(),
            [0, 41, 41, 42]
        );
        assert!(events.iter().all(|e| e.wall_time == 1000.5));
        assert_eq!(
            events[0].what,
            Some(What::FileVersion("brain.Event:2".into()))
        );
        assert_eq!(
            events[1].what,
            Some(What::SessionLog(SessionLog { status: 1 }))
        );
        let value = |event: &Event| match &event.what {
            Some(What::Summary(summary)) => summary.value[0].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(value(&events[2]).tag, "a/loss");
        assert_eq!(
            value(&events[2]).what,
            Some(summary::What::SimpleValue(0.25))
        );
        let histogram = summary::Histogram::of_counts(&[0, 3, 0, 1]).unwrap();
        assert_eq!(
            value(&events[3]).what,
            Some(summary::What::Histo(histogram))
        );
    }

    #[test]
    fn each_file_comes_behind_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log.jsonl"), "").unwrap();
        let names = [0, 1, 2].map(|_| {
            let writer = EventWriter::with_clock(folder.path(), 0, clock).unwrap();
            writer.path.file_name().unwrap().to_owned()
        });
        assert_eq!(names[0].to_str(), Some("events.out.tfevents.0000001000.vq"));
        assert!(names.is_sorted() && names[0] < names[1] && names[1] < names[2]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap().path().join("missing");
        let error = EventWriter::open(&folder, 0).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
