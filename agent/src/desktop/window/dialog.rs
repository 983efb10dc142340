//! Short questions and messages over the window. None of them holds it up.

use gtk::{ButtonsType, DialogFlags, MessageDialog, MessageType, ResponseType, prelude::*};

/// Closing it is a no, and no comes first.
pub(super) fn ask(
    window: &gtk::ApplicationWindow,
    question: &str,
    [no, yes]: [&str; 2],
    answered: impl FnOnce(bool) + 'static,
) {
    let dialog = dialog(window, MessageType::Question, ButtonsType::None, question);
    dialog.add_buttons(&[(no, ResponseType::Cancel), (yes, ResponseType::Accept)]);
    dialog.set_default_response(ResponseType::Cancel);
    let answered = std::cell::Cell::new(Some(answered));
    dialog.connect_response(move |dialog, response| {
        if let Some(answered) = answered.take()
            && response != ResponseType::DeleteEvent
        {
            answered(response == ResponseType::Accept);
        }
        dialog.close();
    });
    dialog.show_all();
}

pub(super) fn tell(window: &gtk::ApplicationWindow, text: &str) {
    let dialog = dialog(window, MessageType::Warning, ButtonsType::Close, text);
    dialog.connect_response(|dialog, _| dialog.close());
    dialog.show_all();
}

/// The first line large, the rest below it.
fn dialog(
    window: &gtk::ApplicationWindow,
    kind: MessageType,
    buttons: ButtonsType,
    text: &str,
) -> MessageDialog {
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let dialog = MessageDialog::new(Some(window), DialogFlags::DESTROY_WITH_PARENT, kind, buttons, first);
    dialog.set_title("My Workers");
    dialog.set_secondary_text(Some(rest).filter(|rest| !rest.is_empty()));
    dialog
}
