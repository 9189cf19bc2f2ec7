// What is wrong at this node, why, and the command that helps.
import { Badge, Card, Command, Empty, Failure, Head, useGet } from "../parts/ui";

interface Problem {
  weight: "error" | "warning";
  where: string;
  what: string;
  cause: string;
  command: string;
}

export function Problems() {
  const { data, problem } = useGet<{ problems: Problem[] }>("/v1/problems", 3000);
  const found = data?.problems ?? [];
  return (
    <>
      <Head title="Problems" about="What is wrong, why, and the command that helps. Look at a command before you run it." />
      <Failure problem={problem} />
      {data && found.length === 0 && (
        <Card title="Nothing is wrong">
          <Empty>
            The node knows of no problem. Configurations, ports and whole databases are looked at by{" "}
            <code>edgelake doctor</code>.
          </Empty>
        </Card>
      )}
      <ul class="problems">
        {found.map((one, at) => (
          <li key={`${one.what}${at}`} class={`card problem ${one.weight}`}>
            <div class="problem-head">
              <Badge tone={one.weight === "error" ? "bad" : "warn"}>{one.weight}</Badge>
              <span class="muted">{one.where}</span>
            </div>
            <h2>{one.what}</h2>
            <p class="cause">{one.cause}</p>
            <Command line={one.command} />
          </li>
        ))}
      </ul>
    </>
  );
}
