//! A fresh file, and an application on it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use celeriac::prelude::*;
use tempfile::TempDir;

use crate::args::{Args, Durability};

/// A folder with one file in it; both go with this.
pub(crate) struct Store {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Store {
    pub(crate) fn fresh(args: &Args) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("celeriac-bench-")
            .tempdir_in(&args.dir)
            .with_context(|| format!("make a folder in {}", args.dir.display()))?;
        let path = folder.path().canonicalize()?.join("tasks.db");
        Ok(Self { _folder: folder, path })
    }

    pub(crate) async fn app(&self, args: &Args) -> anyhow::Result<App> {
        connect(&self.path, args.durability).await
    }
}

/// An application on the file. Its settings are the defaults, whatever the environment says.
pub(crate) async fn connect(path: &Path, durability: Durability) -> anyhow::Result<App> {
    let url = format!("sqlite://{}?synchronous={}", path.display(), durability.word());
    Ok(App::connect_with(&url, Settings::default()).await?)
}
