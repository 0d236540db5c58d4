//! The rules, one sentence a test, and thousands of random histories.

mod beginning;
mod driver;
mod ending;
mod histories;
mod reading;
mod restarting;
