// The frame around the pages: menu, state of the node, login, light and dark.
import type { ComponentType } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { identity, whenRefused } from "./lib/api";
import { live, useLive, type Link } from "./lib/live";
import { link, useRoute, type Route } from "./lib/route";
import { theme, toggle } from "./lib/theme";
import { Icon } from "./parts/icons";
import { Dot, type Tone } from "./parts/ui";
import { Console } from "./pages/Console";
import { Data } from "./pages/Data";
import { Ingest } from "./pages/Ingest";
import { Login } from "./pages/Login";
import { Network } from "./pages/Network";
import { Overview } from "./pages/Overview";
import { Problems } from "./pages/Problems";
import { Sql } from "./pages/Sql";

interface Page {
  key: string;
  title: string;
  shows: ComponentType<{ route: Route }>;
}

const PAGES: Page[] = [
  { key: "overview", title: "Overview", shows: Overview },
  { key: "data", title: "Data", shows: Data },
  { key: "sql", title: "SQL", shows: Sql },
  { key: "ingest", title: "Ingest", shows: Ingest },
  { key: "network", title: "Network", shows: Network },
  { key: "problems", title: "Problems", shows: Problems },
  { key: "console", title: "Console", shows: Console },
];

const LINKS: Record<Link, [Tone, string]> = {
  connecting: ["idle", "connecting"],
  live: ["good", "live"],
  lost: ["bad", "no connection"],
  refused: ["warn", "not allowed"],
};

export function App() {
  const route = useRoute();
  const [asked, setAsked] = useState(false);
  const main = useRef<HTMLElement>(null);
  const page = PAGES.find((one) => one.key === route.page) ?? PAGES[0]!;

  // Before the first request is sent, which a later effect might not be.
  useLayoutEffect(() => whenRefused(() => setAsked(true)), []);
  useEffect(() => {
    document.title = `${page.title} · EdgeLake`;
    // On a phone the menu is wider than the screen.
    document.querySelector(".menu nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [page.key]);

  const Shown = page.shows;
  const loggedIn = (): void => {
    setAsked(false);
    live.again();
  };
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to content
      </a>
      <div class="frame">
        <Menu page={page.key} />
        <main id="main" ref={main} tabIndex={-1}>
          <Banner />
          {asked ? <Login done={loggedIn} /> : <Shown route={route} />}
        </main>
      </div>
    </>
  );
}

function Menu({ page }: { page: string }) {
  return (
    <header class="menu">
      <a class="brand" href="#/overview" aria-label="EdgeLake, overview">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M5 13q5.500-5 11 0t11 0M5 20q5.500-5 11 0t11 0" />
        </svg>
        <span>EdgeLake</span>
      </a>
      <nav aria-label="Pages">
        <ul>
          {PAGES.map((one) => (
            <li key={one.key}>
              <a href={link(one.key)} aria-current={one.key === page ? "page" : undefined}>
                <Icon name={one.key} />
                <span>{one.title}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <Foot />
    </header>
  );
}

function Foot() {
  const { state, link: connection } = useLive();
  const [shade, setShade] = useState(theme());
  const [tone, said] = LINKS[connection];
  const leave = (): void => {
    identity.clear();
    location.reload();
  };
  return (
    <div class="menu-foot">
      <div class="node" role="status">
        <Dot tone={tone} label={said} />
        <span class="node-name">{state?.node.name || "node"}</span>
        <small>{state ? `v${state.node.version}` : said}</small>
      </div>
      <div class="menu-tools">
        <button
          type="button"
          class="square"
          onClick={() => setShade(toggle())}
          aria-label={shade === "dark" ? "Light colours" : "Dark colours"}
          title={shade === "dark" ? "Light colours" : "Dark colours"}
        >
          <Icon name={shade === "dark" ? "sun" : "moon"} />
        </button>
        {identity.get() && (
          <button type="button" class="square" onClick={leave} aria-label="Log out" title="Log out">
            <Icon name="leave" />
          </button>
        )}
      </div>
    </div>
  );
}

function Banner() {
  const { state, link: connection, reason } = useLive();
  if (connection === "lost") return <p class="banner bad">{reason || "The connection ended"}. Trying again …</p>;
  if (connection === "refused") return <p class="banner warn">{reason}</p>;
  if (state && !state.ready) return <p class="banner warn">Not ready: {state.reasons.join("; ")}</p>;
  return null;
}
