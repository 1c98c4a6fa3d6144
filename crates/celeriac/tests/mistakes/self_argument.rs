use celeriac::prelude::*;

struct Mailer;

impl Mailer {
    #[task]
    async fn send(&self, to: String) {}
}

fn main() {}
