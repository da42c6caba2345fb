//! Where guest memory comes from: images of a guest, or a built-in workload.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::{Gpa, PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use serde::Serialize;

use crate::guest_memory::{self, MemoryKind};
use crate::workload::Workload;

/// Where guest memory comes from.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Input {
    /// Raw images of one guest in order, all of the same size.
    Images {
        #[serde(rename = "input")]
        images: Vec<PathBuf>,
        #[serde(rename = "size")]
        bytes: u64,
    },
    /// A built-in workload.
    Workload(Workload),
}

/// Images that cannot be a guest's memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    #[error("cannot read the image {}: {source}; check the path", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is no regular file: give a file with the guest's memory, byte for byte", path.display())]
    NoFile { path: PathBuf },
    #[error("the image {} is empty", path.display())]
    Empty { path: PathBuf },
    #[error(
        "the image {} has {bytes} bytes, which is not whole pages of {page_size}: {}", path.display(),
        kind.unwrap_or("give a raw image, as QEMU's pmemsave writes it, or a smaller --page-size")
    )]
    OddSize { path: PathBuf, bytes: u64, page_size: PageSize, kind: Option<&'static str> },
    #[error(
        "the image {} has {bytes} bytes, the first one {expected}: give snapshots of one and the same guest",
        path.display()
    )]
    OtherSize { path: PathBuf, bytes: u64, expected: u64 },
    #[error("cannot read the image {} to its end: {source}; was it changed?", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot allocate {bytes} bytes for the guest's memory: {source}; use a smaller one")]
    Memory { bytes: u64, source: io::Error },
    #[error(transparent)]
    Layout(#[from] pageferry_accel::guest::LayoutError),
}

impl Input {
    /// Images that exist and fit each other.
    ///
    /// # Errors
    /// [`ImageError`] names the image that does not.
    pub(crate) fn images(images: Vec<PathBuf>, page_size: PageSize) -> Result<Self, ImageError> {
        let mut expected = None;
        for path in &images {
            let bytes = image_bytes(path, page_size)?;
            let expected = *expected.get_or_insert(bytes);
            if bytes != expected {
                return Err(ImageError::OtherSize { path: path.clone(), bytes, expected });
            }
        }
        Ok(Self::Images { images, bytes: expected.unwrap_or(0) })
    }

    /// How much memory the guest has.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Images { bytes, .. } => *bytes,
            Self::Workload(workload) => workload.size.0,
        }
    }

    /// How many rounds there are if the user does not say.
    pub(crate) fn default_rounds(&self) -> u32 {
        match self {
            Self::Images { images, .. } => u32::try_from(images.len()).unwrap_or(u32::MAX),
            Self::Workload(_) => 8,
        }
    }

    /// Memory for this input: one region from address 0 on.
    ///
    /// # Errors
    /// [`ImageError`] if there is not as much memory.
    pub(crate) fn guest(&self, page_size: PageSize, kind: MemoryKind) -> Result<Arc<GuestRam>, ImageError> {
        let bytes = self.bytes();
        let memory = guest_memory::map(&[(Gpa(0), bytes)], kind);
        let memory = memory.map_err(|source| ImageError::Memory { bytes, source })?;
        Ok(Arc::new(GuestRam::new(memory, page_size)?))
    }

    /// Puts into `ram` what it holds when round `round` begins, having been called for all rounds before, and says which
    /// pages are dirty then: in round 0 all.
    ///
    /// Every page is written, zero or not, so that the measured time has no first touch of a page in it.
    ///
    /// # Errors
    /// [`ImageError::Read`] if an image cannot be read any more.
    pub(crate) fn prepare(&self, ram: &GuestRam, round: u32) -> Result<DirtyBitmap, ImageError> {
        match self {
            Self::Images { images, .. } => {
                let image = &images[round as usize % images.len()];
                // An image alone is sent whole again and again.
                let whole = round == 0 || images.len() == 1;
                load(image, ram, whole)
            }
            Self::Workload(workload) if round == 0 => {
                workload.fill(ram);
                Ok(DirtyBitmap::all(ram))
            }
            Self::Workload(workload) => Ok(workload.change(ram, round)),
        }
    }
}

fn image_bytes(path: &Path, page_size: PageSize) -> Result<u64, ImageError> {
    let open = |source| ImageError::Open { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(open)?;
    let metadata = file.metadata().map_err(open)?;
    if !metadata.is_file() {
        return Err(ImageError::NoFile { path: path.to_owned() });
    }
    let bytes = metadata.len();
    if bytes == 0 {
        return Err(ImageError::Empty { path: path.to_owned() });
    }
    if bytes % page_size.bytes() as u64 != 0 {
        let kind = kind_of(&mut file);
        return Err(ImageError::OddSize { path: path.to_owned(), bytes, page_size, kind });
    }
    Ok(bytes)
}

/// What a file is that is no raw image, by its first bytes.
fn kind_of(file: &mut File) -> Option<&'static str> {
    let mut magic = [0; 4];
    file.read_exact(&mut magic).ok()?;
    match magic {
        [0x7f, b'E', b'L', b'F'] => Some("it is an ELF file; make a raw image, as QEMU's pmemsave does"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("it is compressed; unpack it with zstd -d first"),
        [0x1f, 0x8b, ..] => Some("it is compressed; unpack it with gunzip first"),
        _ => None,
    }
}

/// Replaces what is in memory by an image. Dirty is what changed, or everything if the image is sent `whole`.
fn load(path: &Path, ram: &GuestRam, whole: bool) -> Result<DirtyBitmap, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut dirty = if whole { DirtyBitmap::all(ram) } else { DirtyBitmap::clean(ram) };
    let page_bytes = ram.page_size().bytes();
    let mut chunk = vec![0; (1 << 20).max(page_bytes)];
    let mut before = vec![0; page_bytes];
    let mut page = PageIndex(0);
    while page.0 < ram.pages() {
        let left = usize::try_from(ram.bytes() - (page.0 << ram.page_size().shift())).unwrap_or(usize::MAX);
        let length = chunk.len().min(left);
        let part = &mut chunk[..length];
        file.read_exact(part).map_err(failed)?;
        for bytes in part.chunks_exact(page_bytes) {
            ram.copy_out(page, &mut before);
            if whole || before != bytes {
                ram.copy_in(page, bytes);
                dirty.set(page);
            }
            page = page.offset(1);
        }
    }
    Ok(dirty)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PAGE: usize = 4096;

    fn image(folder: &Path, name: &str, pages: &[u8]) -> PathBuf {
        let path = folder.join(name);
        let mut file = File::create(&path).unwrap();
        pages.iter().for_each(|&byte| file.write_all(&[byte; PAGE]).unwrap());
        path
    }

    fn runs(dirty: &DirtyBitmap) -> Vec<(u64, u64)> {
        dirty.runs().map(|run| (run.first.0, run.pages)).collect()
    }

    #[test]
    fn snapshots_are_sent_whole_then_by_what_changed_and_then_from_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let images = vec![image(folder.path(), "a", &[0, 1, 2, 3]), image(folder.path(), "b", &[0, 9, 2, 8])];
        let input = Input::images(images, PageSize::Kib4).unwrap();
        let ram = input.guest(PageSize::Kib4, MemoryKind::Private).unwrap();
        assert_eq!(runs(&input.prepare(&ram, 0).unwrap()), [(0, 4)]);
        let mut bytes = [0; PAGE];
        for (round, third) in [(1, 8), (2, 3), (3, 8)] {
            assert_eq!(runs(&input.prepare(&ram, round).unwrap()), [(1, 1), (3, 1)]);
            ram.copy_out(PageIndex(3), &mut bytes);
            assert_eq!(bytes, [third; PAGE], "round {round}");
        }
    }

    #[test]
    fn an_image_alone_is_sent_whole_every_round() {
        let folder = tempfile::tempdir().unwrap();
        let input = Input::images(vec![image(folder.path(), "a", &[0, 1])], PageSize::Kib4).unwrap();
        let ram = input.guest(PageSize::Kib4, MemoryKind::Private).unwrap();
        for round in 0..3 {
            assert_eq!(runs(&input.prepare(&ram, round).unwrap()), [(0, 2)]);
        }
    }

    #[test]
    fn files_that_are_no_image_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let refused = |images: &[PathBuf]| Input::images(images.to_vec(), PageSize::Kib16).unwrap_err();
        std::fs::write(path("odd"), [0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap();
        std::fs::write(path("empty"), []).unwrap();
        let (four, eight) = (image(folder.path(), "4", &[0; 4]), image(folder.path(), "8", &[0; 8]));
        let small = image(folder.path(), "1", &[0]);
        assert!(matches!(refused(&[path("none")]), ImageError::Open { .. }));
        assert!(matches!(refused(&[folder.path().to_owned()]), ImageError::NoFile { .. }));
        assert!(matches!(refused(&[path("empty")]), ImageError::Empty { .. }));
        let odd = refused(&[path("odd")]);
        assert!(odd.to_string().contains("zstd -d"), "{odd}");
        assert!(matches!(refused(&[small]), ImageError::OddSize { bytes: 4096, kind: None, .. }));
        let other = refused(&[four, eight]);
        assert!(matches!(other, ImageError::OtherSize { bytes: 32768, expected: 16384, .. }), "{other}");
    }
}
