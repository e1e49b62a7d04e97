//! vq-train
#![forbid(unsafe_code)]
