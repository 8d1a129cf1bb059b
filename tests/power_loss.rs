//! The power may go at any step: what the disk has then is one whole side, or is brought to one.

#[path = "power/disk.rs"]
mod disk;
mod kills;
#[path = "power/order.rs"]
mod order;
#[path = "power/recover.rs"]
mod recover;
mod support;
