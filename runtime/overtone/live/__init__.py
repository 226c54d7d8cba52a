"""A microphone or any other input device, enhanced to any output device."""
