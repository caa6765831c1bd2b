/** One of a few views of the same list. */

interface Props {
  label: string;
  tabs: readonly { id: string; name: string }[];
  active: string;
  onPick(id: string): void;
}

export function Tabs({ label, tabs, active, onPick }: Props) {
  return (
    <div class="segments tabs" role="group" aria-label={label}>
      {tabs.map(({ id, name }) => (
        <button key={id} type="button" aria-pressed={id === active} onClick={() => onPick(id)}>
          {name}
        </button>
      ))}
    </div>
  );
}
