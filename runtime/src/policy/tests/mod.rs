//! The rules, one sentence a test, and thousands of histories that nobody thought of.

mod beginning;
mod driver;
mod ending;
mod histories;
mod reading;
mod restarting;
