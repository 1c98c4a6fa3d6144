//! What the real Celery 5.7.0 wrote (`interop/capture.py` captured it) is read as what it means, and written again as it
//! was: byte for byte, or in another order where a test says so and why.

mod messages;
mod support;
mod worker;
mod workflows;
