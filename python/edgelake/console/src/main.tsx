import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { App } from "./app";
import { live } from "./lib/live";

render(<App />, document.getElementById("app")!);
live.begin();
