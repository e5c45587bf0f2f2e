"""Programs that train the bundled tiny synthesizer. No part of the installed library."""
