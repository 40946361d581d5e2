/** The room page's own line icons, 20 units square, in the colour of the text. */

import type { ReactNode } from "react";

function icon(children: ReactNode): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 20 20" width="20" height="20" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const ShareIcon = icon(<path d="M8.5 11.5a3 3 0 0 0 4.3 0l2.9-2.9a3 3 0 0 0-4.3-4.3l-.9.9M11.5 8.5a3 3 0 0 0-4.3 0l-2.9 2.9a3 3 0 0 0 4.3 4.3l.9-.9" />);
export const CheckIcon = icon(<path d="m4.5 10.5 3.6 3.6 7.4-8" />);
export const SunIcon = icon(
  <>
    <circle cx="10" cy="10" r="3.2" />
    <path d="M10 2.2v1.6M10 16.2v1.6M2.2 10h1.6M16.2 10h1.6M4.5 4.5l1.1 1.1M14.4 14.4l1.1 1.1M4.5 15.5l1.1-1.1M14.4 5.6l1.1-1.1" />
  </>,
);
export const MoonIcon = icon(<path d="M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7Z" />);
export const ChatIcon = icon(<path d="M3.5 5.5a2 2 0 0 1 2-2h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H9l-3.6 3v-3a2 2 0 0 1-1.9-2Z" />);
export const BoardIcon = icon(
  <>
    <path d="M4 16c2.5 0 2-3 4.2-5.2l6-6a1.7 1.7 0 0 1 2.4 2.4l-6 6C8.5 15.4 6.5 16 4 16Z" />
    <path d="m12.7 6.3 2.4 2.4" />
  </>,
);
export const SendIcon = icon(<path d="M10 16.500V4M4.8 9 10 3.8 15.2 9" />);
export const CloseIcon = icon(<path d="m5 5 10 10M15 5 5 15" />);
export const PencilIcon = icon(<path d="M4 16l.8-3.3 8.3-8.300a1.5 1.5 0 0 1 2.5 2.500l-8.3 8.300Z" />);
export const TargetIcon = icon(<path d="m5 4 4.2 11.5 1.8-4.7 4.7-1.800Z" />);
export const DownIcon = icon(<path d="M10 4v12M5 11l5 5 5-5" />);
