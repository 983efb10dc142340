//! The app's icon, drawn from the one that its pages have.

use anyhow::{Context, bail};
use gtk::{gdk_pixbuf::PixbufLoader, prelude::*};

/// A square of red, green, blue and opacity, and its side.
pub(super) fn draw(side: i32) -> anyhow::Result<(Vec<u8>, u32)> {
    let loader = PixbufLoader::with_mime_type("image/svg+xml")
        .context("GTK draws no SVG here: install the package librsvg2-common")?;
    loader.set_size(side, side);
    loader.write(pictor_look::ICON.as_bytes())?;
    loader.close()?;
    let drawn = loader.pixbuf().context("the icon is empty")?;
    let drawn = if drawn.has_alpha() { drawn } else { drawn.add_alpha(false, 0, 0, 0)? };
    let (width, height) = (usize::try_from(drawn.width())?, usize::try_from(drawn.height())?);
    if width != height {
        bail!("the icon is {width} by {height}");
    }
    let (bytes, stride) = (drawn.read_pixel_bytes(), usize::try_from(drawn.rowstride())?);
    let rgba = bytes.chunks(stride).flat_map(|row| &row[..width * 4]).copied().collect();
    Ok((rgba, u32::try_from(width)?))
}
