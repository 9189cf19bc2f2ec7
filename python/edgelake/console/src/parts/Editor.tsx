// A text area that colours what is typed and offers how a word goes on. All of it works by keyboard.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { coloured, type Offer } from "../lib/sql";

interface Props {
  value: string;
  label: string;
  rows?: number;
  offers: (before: string) => Offer[];
  onInput: (text: string) => void;
  onRun: () => void;
}

interface Open {
  offers: Offer[];
  at: number;
  start: number;
  left: number;
  top: number;
}

export function Editor({ value, label, rows = 7, offers, onInput, onRun }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  const shown = useRef<HTMLPreElement>(null);
  const caret = useRef<number | null>(null);
  const [open, setOpen] = useState<Open | null>(null);
  const id = useId();

  useLayoutEffect(() => {
    if (caret.current !== null && area.current) area.current.setSelectionRange(caret.current, caret.current);
    caret.current = null;
  }, [value]);
  useEffect(() => {
    document.getElementById(`${id}-${open?.at}`)?.scrollIntoView({ block: "nearest" });
  }, [open?.at]);

  const offer = (asked: boolean): void => {
    const element = area.current!;
    const before = element.value.slice(0, element.selectionStart);
    const word = /[\w.$]*$/.exec(before)?.[0] ?? "";
    if (!asked && word.length < 2 && !word.includes(".")) return setOpen(null);
    const found = offers(before).slice(0, 50);
    const typed = word.slice(word.lastIndexOf(".") + 1);
    if (!found.length || (found.length === 1 && found[0]!.word.toLowerCase() === typed.toLowerCase())) return setOpen(null);
    const lines = before.split("\n");
    const column = lines[lines.length - 1]!.length - typed.length;
    const top = lines.length * 1.5 + 0.7 - element.scrollTop / parseFloat(getComputedStyle(element).fontSize);
    setOpen({ offers: found, at: 0, start: before.length - typed.length, left: Math.min(column, 60), top });
  };

  const take = (chosen: Offer): void => {
    const element = area.current!;
    const end = element.selectionStart;
    const made = element.value.slice(0, open!.start) + chosen.word + element.value.slice(end);
    caret.current = open!.start + chosen.word.length;
    setOpen(null);
    onInput(made);
    element.focus();
  };

  const key = (event: KeyboardEvent): void => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      setOpen(null);
      return onRun();
    }
    if (event.ctrlKey && event.key === " ") {
      event.preventDefault();
      return offer(true);
    }
    if (!open) return;
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      event.preventDefault();
      setOpen({ ...open, at: (open.at + move + open.offers.length) % open.offers.length });
    } else if (event.key === "Enter" || event.key === "Tab") {
      event.preventDefault();
      take(open.offers[open.at]!);
    } else if (event.key === "Escape") {
      event.preventDefault();
      setOpen(null);
    }
  };

  return (
    <div class="editor">
      <pre class="editor-shown" aria-hidden="true" ref={shown}>
        {coloured(value).map(([kind, piece], at) => (
          <span key={at} class={kind}>
            {piece}
          </span>
        ))}
        {"\n"}
      </pre>
      <textarea
        ref={area}
        rows={rows}
        value={value}
        aria-label={label}
        aria-autocomplete="list"
        aria-controls={open ? id : undefined}
        aria-activedescendant={open ? `${id}-${open.at}` : undefined}
        spellcheck={false}
        autocapitalize="off"
        autocomplete="off"
        onInput={(event) => {
          onInput(event.currentTarget.value);
          offer(false);
        }}
        onScroll={(event) => {
          shown.current!.scrollTop = event.currentTarget.scrollTop;
          shown.current!.scrollLeft = event.currentTarget.scrollLeft;
        }}
        onKeyDown={key}
        onBlur={() => setTimeout(() => setOpen(null), 150)}
      />
      {open && (
        <ul class="offers" id={id} role="listbox" style={{ left: `calc(${open.left}ch + 0.75rem)`, top: `${open.top}em` }}>
          {open.offers.map((one, at) => (
            <li
              key={one.word}
              id={`${id}-${at}`}
              role="option"
              aria-selected={at === open.at}
              onMouseDown={(event) => {
                event.preventDefault();
                take(one);
              }}
            >
              <span>{one.word}</span>
              <small>{one.about}</small>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
