// A question before an action that cannot be undone.

/** A function that asks in this dialog and resolves to whether the answer is yes. */
export function confirmWith(dialog) {
  const [title, text] = [dialog.querySelector("h2"), dialog.querySelector("p")];
  const yes = dialog.querySelector("button[value=yes]");
  return (question, consequence, verb) => {
    title.textContent = question;
    text.textContent = consequence;
    yes.textContent = verb;
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
  };
}
