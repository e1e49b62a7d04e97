//! The host side of `vq`: pictures in, trained models and measurements out.
//!
//! The modules stand in the order in which data passes them.
#![deny(unsafe_code)]

pub mod atomic;
pub mod claim;
pub mod input;
pub mod picture;

// From pictures to a trained model.
pub mod config;
pub mod data;
pub mod nn;
pub mod quantizer;
pub mod loss;
pub mod gan;
pub mod model;
pub mod optim;
pub mod checkpoint;
pub mod tensorboard;
pub mod run;
pub mod interchange;
pub mod train;

// From a trained model to figures.
pub mod codec;
pub mod packets;
pub mod link;
pub mod strip;
pub mod export;
pub mod metrics;
pub mod rivals;
pub mod refine;
pub mod sheet;
pub mod evaluate;

// A trained model on a microcontroller.
pub mod flash;
