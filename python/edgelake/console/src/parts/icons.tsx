// Line drawings of the menu; each is a path on a grid of 24.
const PATHS: Record<string, string> = {
  overview: "M4 13h4l2-7 4 13 2-6h4",
  data: "M4 6c0-1.700 3.600-3 8-3s8 1.300 8 3-3.600 3-8 3-8-1.300-8-3Zm0 0v12c0 1.700 3.600 3 8 3s8-1.300 8-3V6M4 12c0 1.700 3.600 3 8 3s8-1.300 8-3",
  sql: "M8 8l-4 4 4 4M16 8l4 4-4 4M13.500 5l-3 14",
  ingest: "M12 3v11m0 0l-4-4m4 4l4-4M4 15v4a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-4",
  network: "M12 8a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5ZM5.500 20a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5Zm13 0a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5ZM11 8l-4 7m6-7l4 7M8 17.500h8",
  problems: "M12 4l9 16H3L12 4Zm0 6v4m0 3v.200",
  console: "M4 5h16v14H4V5Zm3 4l3 3-3 3m5.500 0H16",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2v2m0 16v2M2 12h2m16 0h2M5 5l1.400 1.400m11.200 11.200L19 19M19 5l-1.400 1.400M6.400 17.600L5 19",
  moon: "M20 14.500A8.500 8.500 0 1 1 9.500 4a7 7 0 0 0 10.500 10.500Z",
  leave: "M14 4h4a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-4M9 16l-4-4 4-4M5 12h10",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
