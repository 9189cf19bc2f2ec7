// Asked for when the node wants to know who calls. What is entered stays in this tab.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { get, identity } from "../lib/api";
import { Failure } from "../parts/ui";

export function Login({ done }: { done: () => void }) {
  const [by, setBy] = useState<"password" | "token">("password");
  const [problem, setProblem] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);

  useLayoutEffect(() => first.current?.focus(), [by]);

  const enter = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const given = (name: string): string => String(form.get(name) ?? "");
    identity.set(by === "token" ? identity.bearer(given("token")) : identity.basic(given("user"), given("password")));
    setBusy(true);
    try {
      await get("/v1/overview");
      done();
    } catch (refused) {
      identity.clear();
      setProblem(refused);
    } finally {
      setBusy(false);
    }
  };

  return (
    <form class="login card" onSubmit={enter} aria-labelledby="login-title">
      <h1 id="login-title">Log in</h1>
      <p class="muted">This node wants to know who calls. The login stays in this tab until it is closed.</p>
      <div class="tabs" role="group" aria-label="Way to log in">
        {(["password", "token"] as const).map((one) => (
          <button key={one} type="button" aria-pressed={by === one} onClick={() => setBy(one)}>
            {one === "password" ? "User and password" : "Token"}
          </button>
        ))}
      </div>
      {by === "password" ? (
        <>
          <label>
            User
            <input ref={first} name="user" autocomplete="username" required />
          </label>
          <label>
            Password
            <input name="password" type="password" autocomplete="current-password" required />
          </label>
        </>
      ) : (
        <label>
          Token
          <input ref={first} name="token" type="password" autocomplete="off" placeholder="elt_…" required />
        </label>
      )}
      <Failure problem={problem} />
      <button class="primary" disabled={busy}>
        Log in
      </button>
    </form>
  );
}
